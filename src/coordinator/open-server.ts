import type { Server } from "node:http";
import { nodeHttp, nodeHttps } from "../node-http.ts";

/** PEM. */
export interface TlsMaterial {
  cert: string | Buffer;
  key: string | Buffer;
  /** Of the authority whose certificates workers show; null or nothing where they show none. */
  clientCa?: string | Buffer | null;
}

interface OpenedServer {
  server: Server;
  needsCertificate: boolean;
  /** Takes other certificates, where there are. */
  renew(): void;
}

/** A server of HTTP, or of HTTPS, that does not listen yet. */
export function openServer(tls: TlsMaterial | (() => TlsMaterial) | undefined): OpenedServer {
  if (!tls) return { server: nodeHttp().createServer(), needsCertificate: false, renew: () => undefined };
  const current = typeof tls === "function" ? tls : () => tls;
  let used = current();
  const needsCertificate = Boolean(used.clientCa);
  // Callers of the HTTP API show none: whose is not good enough is turned away where a worker is expected.
  const server = nodeHttps().createServer({
    ...contextOf(used),
    requestCert: needsCertificate,
    rejectUnauthorized: false,
  });
  return {
    server,
    needsCertificate,
    renew() {
      const next = current();
      if (next === used) return;
      used = next;
      server.setSecureContext(contextOf(next));
    },
  };
}

function contextOf({ cert, key, clientCa }: TlsMaterial) {
  return { cert, key, ...(clientCa ? { ca: clientCa } : {}) };
}
