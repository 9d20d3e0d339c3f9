import { posix } from "node:path";
import { MusterError } from "./errors.ts";

/** What the operator lets onto the volume and into engines, whatever catalogs and coordinators say. */
export interface ContentPolicy {
  /** Null: any. */
  licenses: LicensePolicy | null;
  /** `catalog`: where a variant allows them; `refuse`: nowhere; `allow`: everywhere. */
  pickles: "catalog" | "refuse" | "allow";
}

export interface LicensePolicy {
  /** Lower case, as {@link licensePattern} makes them; globs. `unknown` stands for models of which nobody says any. */
  allowed: readonly string[];
  /** Or else it is only told. */
  refuse: boolean;
}

export const NO_CONTENT_POLICY: ContentPolicy = { licenses: null, pickles: "catalog" };

/** What is known of a model's licence: ids of SPDX or the hub, or expressions of them with AND and OR; null for nothing. */
export interface KnownLicense {
  /** By the catalog. */
  declared: string | null;
  /** By the source. */
  found: string | null;
}

const UNKNOWN = "unknown";
/** SPDX's names for what is in none of its lists: a contract of the operator's own. It stands in place of the publisher's. */
const OWN_TERMS = /^licenseref-/i;

/** The licences that count; a publisher's own word and the catalog's have both to be allowed. Empty where nobody says any. */
export function countingLicenses({ declared, found }: KnownLicense): string[] {
  if (declared !== null && OWN_TERMS.test(declared)) return [declared];
  return [...new Set([declared, found].flatMap((each) => (each ? [each.toLowerCase()] : [])))];
}

/** What a record says of a model's licence: terms of one's own, else the source's word, else the catalog's. */
export function recordedLicense({ declared, found }: KnownLicense): string | null {
  return declared !== null && OWN_TERMS.test(declared) ? declared : (found ?? declared);
}

/** Why the policy does not allow a model, or null where it does. LICENSE_REFUSED, also where the policy only warns. */
export function licenseObjection(name: string, known: KnownLicense, policy: LicensePolicy | null): MusterError | null {
  if (!policy) return null;
  const licenses = countingLicenses(known);
  const wrong = (licenses.length === 0 ? [UNKNOWN] : licenses).filter((each) => !isAllowed(each, policy.allowed));
  if (wrong.length === 0) return null;
  const why =
    licenses.length === 0
      ? `Neither the catalog nor the source says the licence of ${name}, and ALLOWED_LICENSES does not have \`unknown\``
      : `${name} is under ${wrong.join(" and ")}, which ALLOWED_LICENSES does not have (${policy.allowed.join(", ")})`;
  return new MusterError("LICENSE_REFUSED", `${why}.`, {
    hint: "Take another model or variant; or have the licence read, and add its id to ALLOWED_LICENSES, or declare `license` in the catalog (LicenseRef-… for terms of your own with the publisher); `muster catalog show` shows what is declared.",
    details: { declared: known.declared, found: known.found, allowed: [...policy.allowed] },
  });
}

/** What follows for a model: it is refused, or only told of. */
export function judgeLicense(
  name: string,
  known: KnownLicense,
  policy: LicensePolicy | null,
): { refused: MusterError | null; notice: string | null } {
  const objection = licenseObjection(name, known, policy);
  if (!objection) return { refused: null, notice: null };
  return policy?.refuse ? { refused: objection, notice: null } : { refused: null, notice: licenseNotice(objection) };
}

/** What is told of a model that the policy would rather not have and takes all the same. */
export function licenseNotice({ message }: MusterError): string {
  return `${message} It is taken all the same (LICENSE_POLICY=warn)`;
}

/** Whether an expression is allowed: of `A OR B` one is enough, of `A AND B` all are needed. */
function isAllowed(expression: string, allowed: readonly string[]): boolean {
  const plain = expression.toLowerCase().replace(/[()]/g, " ");
  return plain
    .split(/\sor\s/)
    .some((part) => part.split(/\sand\s/).every((id) => allowed.some((pattern) => matches(id.trim(), pattern))));
}

function matches(id: string, pattern: string): boolean {
  return id !== "" && posix.matchesGlob(licensePattern(id), pattern);
}

/** One spelling: the hub and older SPDX lists do not say whether later versions of the GNU licences hold as well. */
export function licensePattern(id: string): string {
  return id
    .trim()
    .toLowerCase()
    .replace(/^([al]?gpl-\d(?:\.\d)?)(?:-only|-or-later|\+)$/, "$1");
}
