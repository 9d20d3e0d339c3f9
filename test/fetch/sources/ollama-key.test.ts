import { spawnSync } from "node:child_process";
import { createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";
import { openOllamaKey, readKey } from "../../../src/fetch/sources/ollama-key.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";

/** A key as ssh-keygen and Ollama write it, and its line for `authorized_keys`. */
function openSshKey(): { pem: string; publicLine: string } {
  const { x, d } = generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" });
  const [point, seed] = [x, d].map((part) => Buffer.from(String(part), "base64url")) as [Buffer, Buffer];
  const number = (value: number) => Buffer.from(Uint32Array.of(value).buffer).reverse();
  const field = (content: Buffer | string) =>
    Buffer.concat([number(Buffer.from(content).length), Buffer.from(content)]);
  const blob = Buffer.concat([field("ssh-ed25519"), field(point)]);
  const secret = [number(7), number(7), blob, field(Buffer.concat([seed, point])), field("a comment")];
  const parts = [Buffer.from("openssh-key-v1\0"), field("none"), field("none"), field(""), number(1), field(blob)];
  const body = Buffer.concat([...parts, field(Buffer.concat(secret))]).toString("base64");
  return {
    pem: `-----BEGIN OPENSSH PRIVATE KEY-----\n${body.replace(/.{70}/g, "$&\n")}\n-----END OPENSSH PRIVATE KEY-----\n`,
    publicLine: `ssh-ed25519 ${blob.toString("base64")}`,
  };
}

function isSigned(header: string, text: string): boolean {
  const [blob = "", signature = ""] = header.split(":");
  const x = Buffer.from(blob, "base64").subarray(-32).toString("base64url");
  const key = createPublicKey({ format: "jwk", key: { kty: "OKP", crv: "Ed25519", x } });
  return verify(null, Buffer.from(text), key, Buffer.from(signature, "base64"));
}

it("is Ollama's own where there is one", async () => {
  const home = temporaryFolder();
  mkdirSync(join(home, ".ollama"));
  const { pem, publicLine } = openSshKey();
  writeFileSync(join(home, ".ollama", "id_ed25519"), pem);
  const key = await openOllamaKey(home, () => Promise.reject(new Error("not asked for")));
  expect(key.publicLine).toBe(publicLine);
  expect(isSigned(key.authorization("GET,x"), "GET,x")).toBe(true);
  expect(isSigned(key.authorization("GET,x"), "GET,y")).toBe(false);
});

it("else is made once, for its owner's eyes only", async () => {
  const home = temporaryFolder();
  const state = temporaryFolder();
  const keys = await Promise.all([1, 2, 3].map(() => openOllamaKey(home, async () => state)));
  const later = await openOllamaKey(home, async () => state);
  expect(isSigned(later.authorization("x"), "x")).toBe(true);
  expect(keys.map(({ publicLine }) => publicLine)).toEqual([1, 2, 3].map(() => later.publicLine));
  expect(readdirSync(state)).toEqual(["ollama-key.pem"]);
  expect(statSync(join(state, "ollama-key.pem")).mode & 0o777).toBe(0o600);
});

it("of garbage there is none", () => {
  fc.assert(
    fc.property(fc.string(), fc.uint8Array({ maxLength: 200 }), (text, bytes) => {
      const body = Buffer.concat([Buffer.from("openssh-key-v1\0"), bytes]).toString("base64");
      const pem = `-----BEGIN OPENSSH PRIVATE KEY-----\n${body}\n-----END OPENSSH PRIVATE KEY-----\n`;
      return readKey(text) === null && readKey(pem) === null;
    }),
  );
});

const hasKeygen = spawnSync("ssh-keygen", ["--help"]).error === undefined;

it.skipIf(!hasKeygen)("a key with a passphrase, or of another kind, is not used", () => {
  const folder = temporaryFolder();
  const make = (name: string, ...args: string[]) => {
    spawnSync("ssh-keygen", ["-q", "-f", join(folder, name), ...args]);
    return readKey(readFileSync(join(folder, name), "utf8"));
  };
  expect(make("plain", "-t", "ed25519", "-N", "")?.asymmetricKeyType).toBe("ed25519");
  expect(make("locked", "-t", "ed25519", "-N", "secret")).toBeNull();
  expect(make("rsa", "-t", "rsa", "-N", "")).toBeNull();
});
