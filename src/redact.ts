/** Keeps secrets out of everything that leaves the process as text: logs, errors, status, frames. */

const known = new Set<string>();
const MASK = "[redacted]";

/** Registers a secret, so that {@link redact} removes it in each encoding it might be printed in. */
export function registerSecret(secret: string): void {
  if (secret.length < 4) return;
  const bytes = Buffer.from(secret);
  for (const form of [
    secret,
    encodeURIComponent(secret),
    JSON.stringify(secret).slice(1, -1),
    bytes.toString("base64"),
    bytes.toString("base64").replace(/=+$/, ""),
    bytes.toString("base64url"),
    bytes.toString("hex"),
  ]) {
    known.add(form);
  }
}

// Secrets that nobody registered: credentials in URLs, signed query parameters, bearer headers, hub tokens.
const patterns: [RegExp, string][] = [
  [/(\b[a-z][a-z0-9+.-]*:\/\/)[^/\s:@"']*:[^/\s@"']+@/gi, `$1${MASK}@`],
  [
    /([?&](?:[\w-]*(?:signature|token|credential|secret|key-pair-id|policy|password|api_?key))=)[^&\s"'<>]+/gi,
    `$1${MASK}`,
  ],
  [/(\b(?:bearer|basic)\s+)[\w+/=.~-]{8,}/gi, `$1${MASK}`],
  [/\bhf_[A-Za-z0-9]{8,}/g, MASK],
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
