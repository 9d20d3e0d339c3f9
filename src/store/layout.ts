import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Digest } from "../model.ts";

/** Every path under the volume. Nothing else in the project joins one. */
export interface Layout {
  /** Records of complete models. */
  manifests: string;
  manifest(key: string): string;
  /** What sources said of models, kept so that a plan needs no network. */
  description(key: string): string;
  lease(name: string): string;
  /** The hub cache, as Hugging Face tools lay it out. */
  hub: HubLayout;
}

export interface HubLayout {
  root: string;
  repo(id: string): string;
  blob(id: string, digest: Digest): string;
  snapshot(id: string, commit: string): string;
  ref(id: string, revision: string): string;
  /** Where a snapshot is put together before it gets its name; inside the repository's folder, so that a rename does it. */
  stagedSnapshot(id: string, token: string): string;
}

export function createLayout(volume: string, hubCache: string): Layout {
  const own = join(volume, ".muster");
  const repo = (id: string) => join(hubCache, `models--${id.replaceAll("/", "--")}`);
  return {
    manifests: join(own, "models"),
    manifest: (key) => join(own, "models", `${key}.json`),
    description: (key) => join(own, "descriptions", `${key}.json`),
    lease: (name) => join(own, "leases", slug(name)),
    hub: {
      root: hubCache,
      repo,
      blob: (id, digest) => join(repo(id), "blobs", digest.hex),
      snapshot: (id, commit) => join(repo(id), "snapshots", commit),
      ref: (id, revision) => join(repo(id), "refs", revision),
      stagedSnapshot: (id, token) => join(repo(id), ".muster", token),
    },
  };
}

/** Folder for unfinished files that will be renamed to below `target`: on the volume, or beside it on another file system. */
export async function ingestFolder(volume: string, target: string): Promise<string> {
  const [own, other] = await Promise.all([deviceOf(volume), deviceOf(target)]);
  return own === other
    ? join(volume, ".muster", "ingest", slug(target.slice(dirname(target).length + 1)))
    : join(target, ".muster", "ingest");
}

async function deviceOf(path: string): Promise<number> {
  for (let folder = path; ; folder = dirname(folder)) {
    const found = await stat(folder).catch(() => null);
    if (found) return found.dev;
    if (folder === dirname(folder)) return -1;
  }
}

/** A file name made of any text; distinct texts of the same form stay distinct. */
export function slug(text: string): string {
  return text.replace(/[^\w.@-]/g, (character) =>
    character === "/" ? "--" : `%${character.codePointAt(0)?.toString(16)}`,
  );
}
