import { mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { hasSystemCode } from "../errors.ts";
import { syncFolder } from "./partial-file.ts";

/**
 * Ollama's model store, written so that a server that runs on it sees either all of a model or nothing: blobs first, then
 * the manifest's very bytes by one rename. Nothing temporary stands in `blobs/` or `manifests/`: a name that vanishes there
 * makes a starting server exit.
 */
export async function publishOllamaManifest(root: string, path: string, text: string): Promise<void> {
  const staged = join(root, ".muster", crypto.randomUUID());
  await mkdir(dirname(staged), { recursive: true });
  try {
    const file = await open(staged, "wx", 0o644);
    await file.writeFile(text);
    await file.sync();
    await file.close();
    await renameInto(staged, join(root, path));
  } finally {
    await rm(staged, { force: true });
  }
}

async function renameInto(staged: string, target: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    await mkdir(dirname(target), { recursive: true });
    try {
      await rename(staged, target);
      break;
    } catch (error) {
      // A server that starts removes empty folders, perhaps the one just made.
      if (!hasSystemCode(error, "ENOENT") || attempt === 5) throw error;
    }
  }
  await syncFolder(dirname(target));
}

/** The path of a manifest in the store, in the spelling that is there: Ollama takes names without regard to case. */
export async function ollamaManifestPath(
  root: string,
  name: { host: string; namespace: string; model: string; tag: string },
): Promise<string> {
  let path = "manifests";
  for (const part of [name.host, name.namespace, name.model, name.tag]) {
    const there = await readdir(join(root, path)).catch(() => []);
    path = `${path}/${there.find((entry) => entry.toLowerCase() === part.toLowerCase()) ?? part}`;
  }
  return path;
}
