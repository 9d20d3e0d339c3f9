import { execFile, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Whether certificates can be made on this machine. */
export const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;

export interface Authority {
  ca: Buffer;
  cert: Buffer;
  key: Buffer;
  /** Another certificate that it signed, as a worker shows one. */
  client: { cert: Buffer; key: Buffer };
}

/** An authority of its own, and a certificate for these names that it signed. */
export async function makeAuthority(names = "IP:127.0.0.1"): Promise<Authority> {
  const folder = await mkdtemp(join(tmpdir(), "muster-tls-"));
  const openssl = (...args: string[]) => run("openssl", args, { cwd: folder });
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  try {
    const own = ["-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Test CA"];
    await openssl("req", "-x509", ...newKey, ...own);
    await openssl("req", ...newKey, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server");
    await writeFile(join(folder, "san"), `subjectAltName=${names}\n`);
    const signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "san", "-days", "2"];
    await openssl("x509", "-req", "-in", "server.csr", ...signed, "-out", "server.pem");
    await openssl("req", ...newKey, "-keyout", "client.key", "-out", "client.csr", "-subj", "/CN=worker");
    await openssl("x509", "-req", "-in", "client.csr", ...signed, "-out", "client.pem");
    const read = (name: string) => readFile(join(folder, name));
    const client = { cert: await read("client.pem"), key: await read("client.key") };
    return { ca: await read("ca.pem"), cert: await read("server.pem"), key: await read("server.key"), client };
  } finally {
    await rm(folder, { recursive: true });
  }
}
