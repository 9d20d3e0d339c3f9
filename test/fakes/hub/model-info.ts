import { createHash } from "node:crypto";
import { type Exchange, sendJson } from "./exchange.ts";
import type { Commit, Repository } from "./repository.ts";

/** `GET /api/models/{id}` and `.../revision/{rev}`. With `expand` only what it names comes back, as on the Hub. */
export function sendModelInfo(exchange: Exchange, repo: Repository, commit: Commit): void {
  const query = new URLSearchParams(exchange.seen.query);
  const info = describeModel(repo, commit, query.get("blobs") === "true" || query.get("blobs") === "True");
  const wanted = query.getAll("expand").concat(query.getAll("expand[]"));
  const keys = new Set(wanted.length === 0 ? Object.keys(info) : ["_id", "id", ...wanted]);
  sendJson(exchange, Object.fromEntries(Object.entries(info).filter(([key]) => keys.has(key))));
}

/** `GET /api/models/{id}/refs` */
export function sendRefs(exchange: Exchange, repo: Repository): void {
  const list = (kind: string, prefix: string) =>
    [...repo.refs]
      .filter(([, ref]) => ref.kind === kind)
      .map(([name, { commit }]) => ({ name, ref: prefix + name, targetCommit: commit }));
  const withPulls = /\binclude_pr(s|ullrequests)=(1|true)/i.test(exchange.seen.query);
  sendJson(exchange, {
    branches: list("branch", "refs/heads/"),
    tags: list("tag", "refs/tags/"),
    converts: [],
    ...(withPulls && { pullRequests: list("pr", "").map((pull) => ({ ...pull, name: pull.ref.slice(5) })) }),
  });
}

function describeModel({ spec }: Repository, commit: Commit, blobs: boolean): Record<string, unknown> {
  const { id, license } = spec;
  const siblings = [...commit.files.values()].map(({ path, size, oid, lfs }) => ({
    rfilename: path,
    ...(blobs && { size, blobId: oid, ...(lfs && { lfs: { sha256: lfs.oid, size, pointerSize: lfs.pointerSize } }) }),
  }));
  return {
    _id: createHash("sha1").update(id).digest("hex").slice(0, 24),
    id,
    modelId: id,
    author: id.includes("/") ? id.split("/")[0] : undefined,
    sha: commit.id,
    lastModified: commit.date,
    createdAt: "2024-01-01T00:00:00.000Z",
    private: spec.private ?? false,
    gated: spec.gated ?? false,
    disabled: spec.disabled ?? false,
    downloads: 1000,
    likes: 10,
    library_name: spec.libraryName ?? "transformers",
    pipeline_tag: spec.pipelineTag ?? "text-generation",
    tags: [...(spec.tags ?? []), ...(license ? [`license:${license}`] : []), "region:us"],
    cardData: license ? { license } : {},
    siblings,
  };
}
