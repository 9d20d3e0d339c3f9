import { readFile, rm } from "node:fs/promises";
import * as z from "zod";
import type { StoredModel } from "../model.ts";
import { filesBelow } from "./files-below.ts";
import type { OllamaLayout } from "./layout.ts";
import { acquireLease } from "./lease.ts";
import { fullName } from "./ollama-name.ts";
import { digestOf, manifestPath } from "./ollama-store.ts";
import { removeUpTo } from "./remove-folders.ts";

/**
 * Takes a model out of Ollama's store: its manifest, where it is still the one of the record, then the blobs that no manifest
 * of the store names, whoever put that there, and no record. A server that has the model loaded goes on with what it has open.
 */
export async function unpublishManifest(
  ollama: OllamaLayout,
  removed: StoredModel,
  kept: readonly StoredModel[],
  signal: AbortSignal,
): Promise<void> {
  // Whoever gives a model its name looks at its blobs under this lease.
  const lease = await acquireLease(ollama.lease, { what: "the Ollama store", signal });
  try {
    const either = AbortSignal.any([signal, lease.lost]);
    const own = kept.filter(({ source }) => source === "ollama");
    if (!removed.kept) await removeManifest(ollama, removed, own);
    const needed = await blobsOfManifests(ollama);
    // One that cannot be read may need any of them.
    if (needed === null) return;
    for (const { files } of own) for (const { path } of files) needed.add(path);
    for (const { path } of removed.files) {
      either.throwIfAborted();
      if (path.startsWith("blobs/") && !needed.has(path)) await rm(ollama.file(path), { force: true });
    }
  } finally {
    await lease.release();
  }
}

async function removeManifest(
  ollama: OllamaLayout,
  { location, revision }: StoredModel,
  own: readonly StoredModel[],
): Promise<void> {
  const name = fullName(location);
  const others = own.filter(({ kept }) => !kept);
  if (others.some((other) => fullName(other.location) === name && other.revision === revision)) return;
  const path = ollama.file(await manifestPath(ollama, location));
  const text = await readFile(path, "utf8").catch(() => null);
  if (text !== null && digestOf(text) === revision) await removeUpTo(ollama.file("manifests"), path);
}

const manifestSchema = z.object({
  config: z.object({ digest: z.string() }).nullish(),
  layers: z.array(z.object({ digest: z.string() })),
});

/** Paths of the blobs that the store's manifests name; null where one of them cannot be read. */
export async function blobsOfManifests(ollama: OllamaLayout): Promise<Set<string> | null> {
  const named = new Set<string>();
  for (const path of await filesBelow(ollama.file("manifests"))) {
    try {
      const { config, layers } = manifestSchema.parse(JSON.parse(await readFile(path, "utf8")));
      for (const { digest } of [...(config ? [config] : []), ...layers]) named.add(`blobs/${digest.replace(":", "-")}`);
    } catch {
      return null;
    }
  }
  return named;
}
