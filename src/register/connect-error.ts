import { MusterError } from "../errors.ts";

/** What kept a connection from opening: the words for it and the next step, by the code of the platform's error. */
const REASONS: [codes: RegExp, what: string, hint: string][] = [
  [
    /^ECONNREFUSED$/,
    "nothing listens there",
    "Start the coordinator, or correct COORDINATOR_URL; this worker keeps trying.",
  ],
  [
    /^(ENOTFOUND|EAI_AGAIN|EAI_NODATA)$/,
    "its name is not known here",
    "Run `getent hosts HOST` in this container, then correct COORDINATOR_URL or the DNS; this worker keeps trying.",
  ],
  [
    /^(ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN)$/,
    "there is no way to it",
    "Check routes and firewalls between this worker and COORDINATOR_URL; this worker keeps trying.",
  ],
  [
    /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_(VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT(_LOCALLY)?)|CERT_(UNTRUSTED|SIGNATURE_FAILURE|REJECTED)|INVALID_CA|ERR_OSSL_PEM_.*)$/,
    "its certificate is signed by an authority that this worker does not trust",
    "Set COORDINATOR_CA_FILE to the PEM file of the authority that signed the coordinator's certificate.",
  ],
  [
    /^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/,
    "its certificate does not hold at this time",
    "Renew the coordinator's certificate; check the clock of this worker with `date`.",
  ],
  [
    /^ERR_TLS_CERT_ALTNAME_INVALID$/,
    "its certificate is for another name",
    "Use a name in COORDINATOR_URL that the certificate carries, or issue one for this name.",
  ],
  [
    /^ERR_SSL_.*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)/,
    "it does not take the certificate of this worker",
    "Set COORDINATOR_CERT_FILE and COORDINATOR_KEY_FILE to a certificate that the coordinator's authority signed (`openssl verify -CAfile CA.pem CERT.pem`), and its key; this worker keeps trying.",
  ],
  [
    /^ECONNRESET$/,
    "it broke the connection off before it was open",
    "Look at the coordinator's log, or that of a proxy before it. One that asks for certificates may not take this worker's (COORDINATOR_CERT_FILE, COORDINATOR_KEY_FILE): `openssl verify -CAfile CA.pem CERT.pem` tells. This worker keeps trying.",
  ],
  [
    /^(EPROTO|ERR_SSL_.*)$/,
    "it does not speak TLS as asked",
    "Use ws:// in COORDINATOR_URL for a coordinator without a certificate, wss:// for one with.",
  ],
];

/** A failure below HTTP, or an upgrade that was no upgrade, as an error that says what to do. */
export function connectError(cause: unknown, url: string): MusterError {
  if (cause instanceof MusterError) return cause;
  const { host, hostname } = new URL(url);
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : null;
  const [, what, hint] = REASONS.find(([codes]) => code !== null && codes.test(code)) ?? [
    null,
    cause instanceof Error && cause.message ? cause.message : "the connection failed",
    "Check that COORDINATOR_URL is the address of a coordinator; this worker keeps trying.",
  ];
  return new MusterError(
    "COORDINATOR_UNREACHABLE",
    `The coordinator at ${host} cannot be reached: ${what}${code ? ` (${code})` : ""}.`,
    { hint: hint.replace("HOST", hostname), cause, details: code ? { code } : {} },
  );
}

/** An HTTP answer in place of the upgrade. */
export function answerError(status: number, url: string): MusterError {
  const { host } = new URL(url);
  if (status === 401 || status === 403) {
    return new MusterError("COORDINATOR_REFUSED", `The coordinator at ${host} refuses this worker (HTTP ${status}).`, {
      hint: "Set COORDINATOR_TOKEN or COORDINATOR_TOKEN_FILE to the coordinator's worker token; this worker keeps trying, slowly.",
      details: { status },
    });
  }
  return new MusterError(
    "COORDINATOR_UNREACHABLE",
    `The coordinator at ${host} cannot be reached: it answered HTTP ${status} to the WebSocket upgrade.`,
    {
      hint: `Check that COORDINATOR_URL is the address of a coordinator (\`curl -i ${url.replace(/^ws/, "http")}\`); this worker keeps trying.`,
      details: { status },
    },
  );
}
