/** Keeps secrets out of everything that leaves the process as text: logs, errors, status, frames. */

/** Longest first, so that a secret within a longer one does not leave the rest of that one behind. */
let known: string[] = [];
const MASK = "[redacted]";

/** Registers a secret, so that {@link redact} removes it in each encoding it might be printed in. */
export function registerSecret(secret: string): void {
  if (secret.length < 4) return;
  const bytes = Buffer.from(secret);
  const forms = [
    secret,
    encodeURIComponent(secret.toWellFormed()),
    new URLSearchParams([["", secret]]).toString().slice(1),
    JSON.stringify(secret).slice(1, -1),
    bytes.toString("base64"),
    bytes.toString("base64").replace(/=+$/, ""),
    bytes.toString("base64url"),
    bytes.toString("hex"),
  ];
  known = [...new Set([...known, ...forms])].toSorted((a, b) => b.length - a.length);
}

// Secrets that nobody registered: credentials in URLs, signed query parameters, bearer headers, hub tokens.
const patterns: [RegExp, string][] = [
  [/(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/?#"'<>]+@/gi, `$1${MASK}@`],
  [
    /([?&](?:[\w-]*(?:signature|token|credential|secret|key(?:-pair-id)?|policy|password)|sig)=)[^&\s"'<>]+/gi,
    `$1${MASK}`,
  ],
  [/(\b(?:bearer|basic)\s+)[\w+/=.~-]{8,}/gi, `$1${MASK}`],
  [/\bhf_[A-Za-z0-9]{16,}/g, MASK],
];

/** The text without secrets. */
export function redact(text: string): string {
  let clean = text;
  for (const secret of known) {
    if (clean.includes(secret)) clean = clean.replaceAll(secret, MASK);
  }
  for (const [pattern, replacement] of patterns) clean = clean.replace(pattern, replacement);
  return clean;
}

/** JSON-like data without secrets. Only texts are looked at: a mask in the middle of a number would spoil the JSON. */
export function redactData<T>(data: T): T {
  if (typeof data === "string") return redact(data) as T;
  if (Array.isArray(data)) return data.map(redactData) as T;
  if (typeof data !== "object" || data === null || Object.getPrototypeOf(data) !== Object.prototype) return data;
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [redact(key), redactData(value)])) as T;
}

/** A value in quotes, as it may be shown: of a URL neither credentials nor query. */
export function showValue(value: string): string {
  const bare = value.replace(/^([a-z][a-z\d+.-]*:).*@/is, "$1//[redacted]@");
  return JSON.stringify(bare.replace(/^([a-z][a-z\d+.-]*:[^?]*\?).*/is, "$1[redacted]"));
}
