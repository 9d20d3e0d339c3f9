import { readlink, stat } from "node:fs/promises";
import { basename, dirname, join, relative, sep } from "node:path";
import { MusterError } from "../../errors.ts";
import type { FileSpec, Variant } from "../../model.ts";
import { filesBelow } from "../../store/files-below.ts";
import { hasSize } from "../../store/has-size.ts";
import { readRef } from "../../store/hub-cache.ts";
import { createLayout, type HubLayout, hubLayout, type Layout } from "../../store/layout.ts";
import { findComplete } from "../../store/manifest.ts";
import { chooseFiles } from "../choose-files.ts";
import type { ModelDescription, Origin } from "../origin.ts";
import { folderShelf } from "./path.ts";
import { readAbout } from "./read-about.ts";

/** Another volume of muster's, or a hub cache of any Hugging Face tool, as a place that models of a hub come from. */
export function volumeOrigin(root: string): Origin {
  const ownLayout = createLayout(root, join(root, "huggingface/hub"), join(root, "ollama"));
  const hubs = [ownLayout.hub, hubLayout(join(root, "hub")), hubLayout(root)];
  return {
    name: root,
    async describe(variant, options) {
      const { hub, revision, files, license } =
        (await recorded(ownLayout, variant)) ?? (await cached(hubs, variant, root));
      const snapshot = folderShelf(hub.snapshot(variant.location, revision));
      const { readStored } = options;
      const about = await readAbout(files, { readStored, license, read: (path) => snapshot.read(path, options) });
      return { revision, files, ...about, manifest: null };
    },
    async locate({ location }, _revision, { path, digest, size }) {
      for (const hub of hubs) {
        const blob = hub.blob(location, digest);
        if (await hasSize(blob, size)) return { kind: "path", path: blob };
      }
      throw new MusterError("FILE_NOT_FOUND", `${root} does not hold ${path} of ${location}.`, {
        hint: `Run \`muster sync\` on the volume mounted at ${root}.`,
      });
    },
  };
}

type Found = Pick<ModelDescription, "revision" | "files"> & { hub: HubLayout; license?: string | null };

/** A record says exactly which files the variant consists of. */
async function recorded(layout: Layout, variant: Variant): Promise<Found | null> {
  const record = await findComplete(layout, variant);
  return record && { hub: layout.hub, revision: record.revision, files: record.files, license: record.license };
}

async function cached(hubs: readonly HubLayout[], variant: Variant, root: string): Promise<Found> {
  const { location, revision } = variant;
  for (const hub of hubs) {
    const pinned = /^[0-9a-f]{40}$/.test(revision);
    const commit = pinned ? revision : await readRef(hub, location, revision);
    const files = commit && (await snapshotFiles(hub, location, commit));
    if (commit && files && looksWhole(files, variant)) return { hub, revision: commit, files };
  }
  throw new MusterError("REPO_NOT_FOUND", `${root} has no whole copy of ${location} at ${revision}.`, {
    hint: `Run \`muster sync\` on the volume mounted there, or \`muster push ${location} ${root}\` where it is complete.`,
  });
}

/** The files that a snapshot shows. Its links name their blobs by digest; a snapshot of plain files says none. */
async function snapshotFiles(hub: HubLayout, repo: string, commit: string): Promise<FileSpec[] | null> {
  const snapshot = hub.snapshot(repo, commit);
  const files: FileSpec[] = [];
  for (const place of await filesBelow(snapshot)) {
    const target = await readlink(place).catch(() => "");
    const hex = basename(target);
    const found = await stat(place).catch(() => null);
    const algorithm = hex.length === 64 ? "sha256" : "git-sha1";
    if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(hex) || !found?.isFile()) return null;
    const digest = { algorithm, hex } as const;
    if (join(dirname(place), target) !== hub.blob(repo, digest)) return null;
    files.push({ path: relative(snapshot, place).split(sep).join("/"), size: found.size, digest });
  }
  return files.toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

/**
 * Whether a snapshot that nobody vouches for has what the variant needs: tools leave snapshots of single files behind.
 * There have to be weights, every part of them.
 */
function looksWhole(files: readonly FileSpec[], variant: Variant): boolean {
  try {
    const chosen = chooseFiles(files, variant);
    const names = new Set(chosen.files.map(({ path }) => path));
    return chosen.weightsBytes > 0 && [...names].every((path) => siblings(path).every((name) => names.has(name)));
  } catch {
    return false;
  }
}

/** Of `x-00002-of-00003.safetensors` all three. */
function siblings(path: string): string[] {
  const [, start, count = "0", end] = /^(.*-)\d{5}-of-(\d{5})(\.\w+)$/.exec(path) ?? [];
  const numbers = Array.from({ length: Math.min(Number(count), 10_000) }, (_, index) => index + 1);
  return numbers.map((number) => `${start}${String(number).padStart(5, "0")}-of-${count}${end}`);
}
