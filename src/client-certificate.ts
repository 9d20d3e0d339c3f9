import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { MusterError } from "./errors.ts";

/** What a coordinator that asks for certificates is shown. */

export interface CertificateFiles {
  /** The worker's certificate, any intermediate ones behind it. */
  cert: string;
  key: string;
}

/** PEM texts. */
export interface ClientCertificate {
  cert: string;
  key: string;
}

/** The certificate and key as the files hold them now. Throws COORDINATOR_REFUSED where nobody could take them. */
export async function readClientCertificate(files: CertificateFiles, now = Date.now()): Promise<ClientCertificate> {
  const [cert, key] = await Promise.all([
    read("COORDINATOR_CERT_FILE", files.cert),
    read("COORDINATOR_KEY_FILE", files.key),
  ]);
  const certificate = parse(() => new X509Certificate(cert), {
    what: `COORDINATOR_CERT_FILE ${files.cert} is no PEM certificate`,
    hint: `\`openssl x509 -in ${files.cert} -noout -subject\` has to show one.`,
  });
  const privateKey: KeyObject = parse(() => createPrivateKey(key), {
    what: `COORDINATOR_KEY_FILE ${files.key} is no PEM key without a passphrase`,
    hint: `\`openssl pkey -in ${files.key} -noout\` has to take it; with -out PLAIN.key it takes the passphrase away.`,
  });
  if (!certificate.checkPrivateKey(privateKey)) {
    throw refused(
      "The key in COORDINATOR_KEY_FILE is not that of the certificate in COORDINATOR_CERT_FILE.",
      `Give both of one pair: \`openssl x509 -in ${files.cert} -noout -pubkey\` and \`openssl pkey -in ${files.key} -pubout\` print the same.`,
    );
  }
  if (certificate.validToDate.getTime() <= now || certificate.validFromDate.getTime() > now) {
    throw refused(
      `The certificate in COORDINATOR_CERT_FILE holds from ${certificate.validFromDate.toISOString()} to ${certificate.validToDate.toISOString()}, and not now.`,
      `Renew it (\`openssl x509 -in ${files.cert} -noout -dates\` shows the dates), and check the clock with \`date\`.`,
    );
  }
  return { cert, key };
}

async function read(name: string, file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
    throw refused(
      `${name} ${file} cannot be read (${code}).`,
      `Mount it where this user may read it: \`ls -l ${file}\`.`,
      cause,
    );
  }
}

/** Without the cause: OpenSSL's words may hold what it read. */
function parse<T>(work: () => T, { what, hint }: { what: string; hint: string }): T {
  try {
    return work();
  } catch {
    throw refused(`${what}.`, hint);
  }
}

function refused(message: string, hint: string, cause?: unknown): MusterError {
  const again = `${hint} The files are read again at every connection; this worker keeps trying, slowly.`;
  return new MusterError("COORDINATOR_REFUSED", message, { hint: again, cause });
}
