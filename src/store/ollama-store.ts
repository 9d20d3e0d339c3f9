import { createHash } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, utimes } from "node:fs/promises";
import { dirname } from "node:path";
import { hasSystemCode, MusterError } from "../errors.ts";
import type { FileSpec } from "../model.ts";
import { hasSize } from "./has-size.ts";
import type { OllamaLayout } from "./layout.ts";
import { acquireLease } from "./lease.ts";
import { makeFolder } from "./make-folder.ts";
import { parseOllamaName } from "./ollama-name.ts";
import { syncFolder } from "./partial-file.ts";

/**
 * Ollama's model store, written so that a server that runs on it sees either all of a model or nothing: blobs first, then
 * the manifest's very bytes by one rename. Nothing temporary stands in `blobs/` or `manifests/`: a name that vanishes there
 * makes a starting server exit. A model's revision is the sha256 of its manifest, in hex, as Ollama shows it too.
 */

/** The blobs being in place, gives them their name by writing the manifest. Gives the manifest as a file of the store. */
export async function publishManifest(
  ollama: OllamaLayout,
  location: string,
  { blobs, text, signal }: { blobs: readonly FileSpec[]; text: string; signal?: AbortSignal },
): Promise<FileSpec> {
  const lease = await acquireLease(ollama.lease, { what: "the Ollama store", signal });
  try {
    await freshen(ollama, location, blobs);
    return await writeManifestFile(ollama, location, text);
  } finally {
    await lease.release();
  }
}

/** Vouches for the blobs of a revision that no name in the store leads to. Throws STORE_CHANGED. */
export async function keepBlobs(
  ollama: OllamaLayout,
  location: string,
  { blobs, signal }: { blobs: readonly FileSpec[]; signal?: AbortSignal },
): Promise<void> {
  const lease = await acquireLease(ollama.lease, { what: "the Ollama store", signal });
  try {
    await freshen(ollama, location, blobs);
  } finally {
    await lease.release();
  }
}

/** Hex sha256 of the manifest that the store has under a name. */
export async function readManifestDigest(ollama: OllamaLayout, location: string): Promise<string | null> {
  const text = await readFile(ollama.file(await manifestPath(ollama, location)), "utf8").catch(() => null);
  return text === null ? null : digestOf(text);
}

/** Without OLLAMA_NOPRUNE a server that starts removes blobs that no manifest names, from an hour of age on. */
async function freshen(ollama: OllamaLayout, location: string, blobs: readonly FileSpec[]): Promise<void> {
  const now = new Date();
  for (const { path, size } of blobs) {
    // Only the owner may set times; a blob of somebody else is as old as it is.
    await utimes(ollama.file(path), now, now).catch(() => undefined);
    if (await hasSize(ollama.file(path), size)) continue;
    throw new MusterError("STORE_CHANGED", `${path} of ${location} went away while the rest of it was fetched.`, {
      hint: `Set OLLAMA_NOPRUNE=1 on every Ollama server that runs on ${ollama.root}, then run \`muster sync\` again.`,
    });
  }
}

async function writeManifestFile(ollama: OllamaLayout, location: string, text: string): Promise<FileSpec> {
  const path = await manifestPath(ollama, location);
  const target = ollama.file(path);
  if ((await readFile(target, "utf8").catch(() => null)) !== text) {
    const staged = ollama.staged(crypto.randomUUID());
    await makeFolder(dirname(staged));
    try {
      await writeSynced(staged, text);
      await renameInto(staged, target);
    } finally {
      await rm(staged, { force: true });
    }
  }
  return { path, size: Buffer.byteLength(text), digest: { algorithm: "sha256", hex: digestOf(text) } };
}

async function writeSynced(path: string, text: string): Promise<void> {
  await using file = await open(path, "wx", 0o644);
  await file.chmod(0o644);
  await file.writeFile(text);
  await file.sync();
}

async function renameInto(staged: string, target: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await mkdir(dirname(target), { recursive: true });
      await rename(staged, target);
      break;
    } catch (error) {
      // A server that starts removes empty folders, perhaps the one just made.
      if (!hasSystemCode(error, "ENOENT") || attempt === 5) throw error;
    }
  }
  await syncFolder(dirname(target));
}

/** A name's manifest in the store, in the spelling that is there: Ollama takes names without regard to case. */
export async function manifestPath(ollama: OllamaLayout, location: string): Promise<string> {
  const { host, namespace, model, tag } = parseOllamaName(location);
  let path = "manifests";
  for (const part of [host, namespace, model, tag]) {
    const there = await readdir(ollama.file(path)).catch(() => []);
    const same = there.filter((entry) => entry.toLowerCase() === part.toLowerCase());
    path = `${path}/${same.includes(part) ? part : (same.toSorted()[0] ?? part)}`;
  }
  return path;
}

export function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
