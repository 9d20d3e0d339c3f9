import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { MusterError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { GatewayConfig } from "../settings/gateway.ts";
import { freshFile } from "./fresh-file.ts";
import type { Secret } from "./gateway/access/access.ts";
import { type ClientKey, parseClientKeys } from "./gateway/access/client-keys.ts";
import { digestOf } from "./gateway/access/secret.ts";
import type { TlsMaterial } from "./open-server.ts";

/** What the coordinator has in files, and takes anew when they change. */

/** Null where no file is named. */
export function tokenSource(name: string, file: string | null, log: Logger): Secret | null {
  if (!file) return null;
  const read = (text: string) => {
    const token = text.trim();
    if (/^[\x21-\x7e]+$/.test(token)) return digestOf(token);
    throw new MusterError("CONFIG_INVALID", `${name} ${file} holds no token.`, {
      hint: `Check it with \`wc -c ${file}\`.`,
    });
  };
  return freshFile({ name, file, read, log });
}

export function openClientKeys(file: string | null, log: Logger): (() => readonly ClientKey[]) | null {
  if (!file) return null;
  return freshFile({ name: "CLIENT_KEYS_FILE", file, read: (text) => parseClientKeys(text, file), log });
}

/** Null where no certificate is named. */
export function openTls(
  { tlsCertFile, tlsKeyFile, tlsClientCaFile }: Pick<GatewayConfig, "tlsCertFile" | "tlsKeyFile" | "tlsClientCaFile">,
  log: Logger,
): (() => TlsMaterial) | null {
  if (!tlsCertFile && !tlsKeyFile && !tlsClientCaFile) return null;
  if (!tlsCertFile || !tlsKeyFile) {
    throw new MusterError("CONFIG_INVALID", "TLS takes a certificate and its key.", {
      hint: "Set TLS_CERT_FILE and TLS_KEY_FILE, or --tls-cert and --tls-key.",
    });
  }
  // A key is written before its certificate, or after: both are read when the certificate changes.
  return freshFile({
    name: "TLS_CERT_FILE",
    file: tlsCertFile,
    read: (cert) => materialOf({ cert, key: readFileSync(tlsKeyFile, "utf8"), tlsClientCaFile }),
    log,
  });
}

function materialOf({ cert, key, tlsClientCaFile }: { cert: string; key: string; tlsClientCaFile: string | null }) {
  const material = { cert, key, clientCa: tlsClientCaFile ? readFileSync(tlsClientCaFile, "utf8") : null };
  // Throws where they do not belong together.
  createSecureContext({ cert, key });
  return material;
}
