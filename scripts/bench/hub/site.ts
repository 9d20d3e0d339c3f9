import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { MadeSet } from "./data.ts";

/** A repository as nginx serves it. */
export interface Repo {
  id: string;
  commit: string;
}

/** Which repository a set becomes. */
export function repoOf(set: MadeSet): Repo {
  return { id: `bench/${set.name}`, commit: sha1(JSON.stringify(set.files)) };
}

/** Path of a file on the hub. */
export function resolvePath({ id, commit }: Repo, path: string): string {
  return `/${id}/resolve/${commit}/${path}`;
}

/**
 * What makes nginx a hub: the answers of its API as files below `folder`, and an nginx configuration with what every
 * answer to a download has to say. All files are large files (LFS) to the clients, known by their SHA-256. Gives the
 * directives for each `server` and those for `http`.
 */
export async function writeSite(folder: string, sets: readonly MadeSet[]): Promise<{ http: string; server: string }> {
  for (const set of sets) await writeApi(folder, set);
  const digests = sets.flatMap((set) =>
    set.files.map(({ path, sha256 }) => `  "${resolvePath(repoOf(set), path)}" ${sha256};`),
  );
  const http = `map_hash_max_size 65536;
map_hash_bucket_size 256;
map $uri $digest {
${digests.join("\n")}
}`;
  const locations = sets.map((set) => {
    const repo = repoOf(set);
    return `location ${resolvePath(repo, "")} {
  alias ${set.folder}/;
  etag off;
  add_header ETag '"$digest"';
  add_header X-Repo-Commit ${repo.commit};
}`;
  });
  // Clients differ in whether they end the address of a listing with a slash.
  const server = `location /api/ {
  root ${folder};
  default_type application/json;
  rewrite ^(/api/.+)/$ $1 break;
}
${locations.join("\n")}`;
  return { http, server };
}

async function writeApi(folder: string, set: MadeSet): Promise<void> {
  const { id, commit } = repoOf(set);
  const api = join(folder, "api", "models", id);
  await mkdir(join(api, "revision"), { recursive: true });
  await mkdir(join(api, "tree"), { recursive: true });
  const info = JSON.stringify({
    _id: sha1(id).slice(0, 24),
    id,
    sha: commit,
    private: false,
    gated: false,
    downloads: 1,
    likes: 1,
    tags: [],
    lastModified: "2024-01-01T00:00:00.000Z",
    siblings: set.files.map(({ path }) => ({ rfilename: path })),
  });
  const tree = JSON.stringify(
    set.files.map(({ path, size, sha256 }) => {
      const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${size}\n`;
      const oid = sha1(`blob ${pointer.length}\0${pointer}`);
      return { type: "file", oid, size, path, lfs: { oid: sha256, size, pointerSize: pointer.length } };
    }),
  );
  for (const revision of ["main", commit]) {
    await writeFile(join(api, "revision", revision), info);
    await writeFile(join(api, "tree", revision), tree);
  }
}

function sha1(text: string): string {
  return createHash("sha1").update(text).digest("hex");
}
