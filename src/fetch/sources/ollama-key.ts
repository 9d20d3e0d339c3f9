import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { link, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { hasSystemCode } from "../../errors.ts";

/** The ed25519 key that a registry knows this worker (or its operator) by. */
export interface OllamaKey {
  /** As `authorized_keys` has it; the operator adds it to an account. */
  publicLine: string;
  /** Value of the Authorization header for the text that is signed. */
  authorization(text: string): string;
}

/** Ollama's own key where there is one, else one that is made once and kept in the private folder. */
export async function openOllamaKey(home: string, stateFolder: () => Promise<string>): Promise<OllamaKey> {
  const own = await readFile(join(home, ".ollama", "id_ed25519"), "utf8").catch(() => null);
  const key = own === null ? null : readKey(own);
  return toOllamaKey(key ?? (await keptKey(join(await stateFolder(), "ollama-key.pem"))));
}

/** Null for what is no ed25519 key, or one with a passphrase. */
export function readKey(pem: string): KeyObject | null {
  try {
    const body = /-----BEGIN OPENSSH PRIVATE KEY-----([\s\S]+)-----END OPENSSH PRIVATE KEY-----/.exec(pem)?.[1];
    const key = body ? readOpenSsh(Buffer.from(body, "base64")) : createPrivateKey(pem);
    return key?.asymmetricKeyType === "ed25519" ? key : null;
  } catch {
    return null;
  }
}

async function keptKey(file: string): Promise<KeyObject> {
  const kept = readKey(await readFile(file, "utf8").catch(() => ""));
  if (kept) return kept;
  const made = generateKeyPairSync("ed25519").privateKey;
  const beside = `${file}.${crypto.randomUUID()}`;
  try {
    await writeFile(beside, made.export({ type: "pkcs8", format: "pem" }), { mode: 0o600, flag: "wx", flush: true });
    // Of two that make one at once, the first one's stays.
    await link(beside, file);
    return made;
  } catch (error) {
    if (!hasSystemCode(error, "EEXIST")) throw error;
    return readKey(await readFile(file, "utf8")) ?? made;
  } finally {
    await rm(beside, { force: true });
  }
}

function toOllamaKey(key: KeyObject): OllamaKey {
  const { x } = createPublicKey(key).export({ format: "jwk" });
  const blob = Buffer.concat([field("ssh-ed25519"), field(Buffer.from(String(x), "base64url"))]).toString("base64");
  return {
    publicLine: `ssh-ed25519 ${blob}`,
    authorization: (text) => `${blob}:${sign(null, Buffer.from(text), key).toString("base64")}`,
  };
}

const MAGIC = "openssh-key-v1\0";

/** The first key of an OpenSSH private key file: fields, each behind its length. */
function readOpenSsh(bytes: Buffer): KeyObject | null {
  if (bytes.subarray(0, MAGIC.length).toString("latin1") !== MAGIC) return null;
  const file = fields(bytes.subarray(MAGIC.length));
  const cipher = file.next().toString();
  file.next();
  file.next();
  file.skip(4);
  file.next();
  if (cipher !== "none") return null;
  const key = fields(file.next());
  // Two equal numbers, by which a wrong passphrase would show.
  key.skip(8);
  if (key.next().toString() !== "ssh-ed25519") return null;
  const x = key.next().toString("base64url");
  const d = key.next().subarray(0, 32).toString("base64url");
  return createPrivateKey({ format: "jwk", key: { kty: "OKP", crv: "Ed25519", x, d } });
}

function fields(bytes: Buffer) {
  let at = 0;
  return {
    next(): Buffer {
      const start = at + 4;
      at = start + bytes.readUInt32BE(at);
      return bytes.subarray(start, at);
    },
    skip(count: number): void {
      at += count;
    },
  };
}

function field(content: Buffer | string): Buffer {
  const bytes = Buffer.from(content);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
