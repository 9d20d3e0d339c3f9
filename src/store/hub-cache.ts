import {
  constants,
  copyFile,
  link,
  mkdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { hasSystemCode } from "../errors.ts";
import type { Digest, FileSpec } from "../model.ts";
import type { HubLayout } from "./layout.ts";
import { makeFolder } from "./make-folder.ts";
import { syncFolder } from "./partial-file.ts";
import { writeFileDurably } from "./write-durably.ts";

/** The Hugging Face hub cache, written as its own tools expect it: blobs, then snapshot, then ref. */

/** Makes the folders of a repository that is about to be filled. Without `snapshots` Python's scan calls it corrupted. */
export async function prepareRepo(hub: HubLayout, repo: string): Promise<void> {
  await makeFolder(hub.ingest(repo));
  await makeFolder(hub.blobs(repo));
  await makeFolder(dirname(hub.snapshot(repo, "any")));
}

/**
 * Makes the snapshot show these files. A snapshot that is not there yet appears whole, by one rename: while it is
 * incomplete its folder is absent, because offline clients take any snapshot folder for complete.
 */
export async function publishSnapshot(
  hub: HubLayout,
  repo: string,
  commit: string,
  files: readonly FileSpec[],
): Promise<void> {
  await writeCacheTag(hub);
  const target = hub.snapshot(repo, commit);
  if (await stat(target).catch(() => null)) return addToSnapshot(hub, repo, target, files);
  const staged = hub.stagedSnapshot(repo, crypto.randomUUID());
  try {
    const folders = new Set(files.map(({ path }) => dirname(join(staged, path))));
    for (const folder of folders) await mkdir(folder, { recursive: true });
    await Promise.all(
      files.map(({ path, digest }) => {
        const blob = hub.blob(repo, digest);
        // Relative to where the link will stand, not to where it is made.
        return linkBlob(blob, join(staged, path), relative(dirname(join(target, path)), blob));
      }),
    );
    await mkdir(dirname(target), { recursive: true });
    await rename(staged, target).catch((error: unknown) => {
      if (!hasSystemCode(error, "ENOTEMPTY", "EEXIST")) throw error;
      // Another client made the snapshot meanwhile.
      return addToSnapshot(hub, repo, target, files);
    });
    await syncFolder(dirname(target));
  } finally {
    await rm(staged, { recursive: true, force: true });
  }
}

/** The commit a ref of the cache names, or null. */
export async function readRef(hub: HubLayout, repo: string, revision: string): Promise<string | null> {
  const text = await readFile(hub.ref(repo, revision), "utf8").catch(() => "");
  return /^[0-9a-f]{40}$/.test(text.trim()) ? text.trim() : null;
}

/** Written last, without a newline: Python compares the bytes. A commit needs no ref. */
export async function writeRef(hub: HubLayout, repo: string, revision: string, commit: string): Promise<void> {
  const target = hub.ref(repo, revision);
  if (revision === commit || (await readFile(target, "utf8").catch(() => "")) === commit) return;
  // Staged outside refs/: a stray file there makes Python drop the repository as corrupted.
  const staged = hub.stagedSnapshot(repo, crypto.randomUUID());
  await writeFileDurably(staged, commit);
  await mkdir(dirname(target), { recursive: true });
  await rename(staged, target);
  await syncFolder(dirname(target));
}

async function addToSnapshot(
  hub: HubLayout,
  repo: string,
  snapshot: string,
  files: readonly FileSpec[],
): Promise<void> {
  for (const { path, digest, size } of files) {
    const place = join(snapshot, path);
    if (await showsBlob(hub, repo, place, { digest, size })) continue;
    await mkdir(dirname(place), { recursive: true });
    const staged = hub.stagedSnapshot(repo, crypto.randomUUID());
    await mkdir(dirname(staged), { recursive: true });
    await linkBlob(hub.blob(repo, digest), staged, relative(dirname(place), hub.blob(repo, digest)));
    await rename(staged, place);
  }
  await syncFolder(snapshot);
}

async function showsBlob(
  hub: HubLayout,
  repo: string,
  place: string,
  file: { digest: Digest; size: number },
): Promise<boolean> {
  const target = await readlink(place).catch(() => null);
  const found = await stat(place).catch(() => null);
  if (found?.size !== file.size) return false;
  return target === null || join(dirname(place), target) === hub.blob(repo, file.digest);
}

async function linkBlob(blob: string, place: string, target: string): Promise<void> {
  try {
    await symlink(target, place);
  } catch (error) {
    // File systems without symbolic links get plain files, as from Hugging Face tools; the blob stays for other revisions.
    if (!hasSystemCode(error, "EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL")) throw error;
    await link(blob, place).catch(() => copyFile(blob, place, constants.COPYFILE_FICLONE));
  }
}

async function writeCacheTag(hub: HubLayout): Promise<void> {
  const tag = join(hub.root, "CACHEDIR.TAG");
  const text = "Signature: 8a477f597d28d172789f06886806bc55\n# This folder holds a cache that can be fetched again.\n";
  // No temporary file here: one left by a kill would make Python warn of the whole cache from then on.
  await writeFile(tag, text, { flag: "wx" }).catch(() => undefined);
}
