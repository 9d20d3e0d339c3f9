import { posix } from "node:path";
import * as z from "zod";
import type { Architecture, FileSpec } from "../../model.ts";
import { type AskOptions, ask, askStart } from "../ask.ts";
import type { HttpSubject } from "../http-errors.ts";
import type { Origin } from "../origin.ts";
import { readArchitecture } from "../read-architecture.ts";
import { readGgufStart } from "../read-gguf.ts";
import { authorization, type HubEndpoint, hubFetch, invalidAnswer, resolveUrl, subjectOf } from "./hub-api.ts";
import { isSafePath } from "./safe-path.ts";

/** Asks a Hugging Face hub (or what keeps its contract) about models. The library lists and describes; bytes are fetched by our own engine. */

export interface RepoDescription {
  /** 40 hex digits. */
  commit: string;
  files: FileSpec[];
}

const commitId = z.string().regex(/^[0-9a-f]{40}$/);
const hex = z
  .string()
  .regex(/^[0-9a-f]+$/i)
  .toLowerCase();
const treeEntry = z.object({
  type: z.string(),
  path: z.string(),
  size: z.int().nonnegative(),
  oid: hex.optional(),
  lfs: z.object({ oid: hex.length(64), size: z.int().nonnegative() }).optional(),
});

/** The commit a revision stands for, and its files with sizes and digests. */
export async function describeRepo(
  repo: string,
  revision: string,
  hub: HubEndpoint,
  options: AskOptions,
): Promise<RepoDescription> {
  const subject = subjectOf(repo, hub);
  const pinned = commitId.safeParse(revision).success;
  const commit = pinned ? revision : await resolveRevision(repo, revision, hub, options);
  const fetch = hubFetch(hub, subject, options, z.array(z.unknown()));
  const { listFiles } = await import("./hub-library.ts");
  const files = new Map<string, FileSpec>();
  for await (const entry of listFiles({ repo, recursive: true, revision: commit, hubUrl: hub.endpoint, fetch })) {
    const file = toFileSpec(entry, subject);
    if (!file) continue;
    // Also what ends a listing whose pages lead in a circle.
    if (files.has(file.path)) throw invalidAnswer(subject.page, `the path ${JSON.stringify(file.path)} twice`);
    files.set(file.path, file);
  }
  for (const path of files.keys()) {
    for (let folder = posix.dirname(path); folder !== "."; folder = posix.dirname(folder)) {
      if (files.has(folder)) throw invalidAnswer(subject.page, `both a file and a folder ${JSON.stringify(folder)}`);
    }
  }
  return { commit, files: [...files.values()] };
}

/** Bytes; a larger one is not a configuration. */
const LARGEST_CONFIG = 1 << 20;

/** The hub as a place that models come from. */
export function huggingFaceOrigin(hub: HubEndpoint): Origin {
  return {
    name: new URL(hub.endpoint).host,
    async describe({ location, revision, format }, options) {
      const { commit, files } = await describeRepo(location, revision, hub, options);
      const urlOf = ({ path }: FileSpec) => resolveUrl(hub.endpoint, location, commit, path);
      const subject = subjectOf(location, hub);
      const architectureOf = async (): Promise<Architecture | null> => {
        const config = files.find(({ path, size }) => path === "config.json" && size <= LARGEST_CONFIG);
        if (config) {
          const stored = await options.readStored(config);
          return readArchitecture(stored ?? (await ask(urlOf(config), subject, options, authorization(hub))).text);
        }
        // Of many quantizations, and of a file in parts: the first tells of all.
        const gguf = files.find(({ path }) => /\.gguf$/i.test(path) && !/mmproj|-(?!00001)\d{5}-of-/i.test(path));
        if (format !== "gguf" || !gguf) return null;
        return readGgufStart(gguf.size, (length) =>
          askStart(urlOf(gguf), length, subject, options, authorization(hub)),
        );
      };
      return { revision: commit, files, architecture: await architectureOf(), manifest: null };
    },
    async locate({ location }, revision, { path }) {
      return {
        kind: "http",
        url: resolveUrl(hub.endpoint, location, revision, path),
        authorization: authorization(hub).authorization ?? null,
        page: subjectOf(location, hub).page,
        signed: false,
      };
    },
    async fallback({ location }, revision, file, options) {
      const { xetStream } = await import("./xet.ts");
      return xetStream({ repo: location, commit: revision, file }, hub, options);
    },
  };
}

async function resolveRevision(repo: string, revision: string, hub: HubEndpoint, options: AskOptions): Promise<string> {
  const fetch = hubFetch(hub, subjectOf(repo, hub), options, z.object({}));
  const { modelInfo } = await import("./hub-library.ts");
  const info = await modelInfo({ name: repo, revision, hubUrl: hub.endpoint, additionalFields: ["sha"], fetch });
  const parsed = commitId.safeParse(info.sha);
  if (parsed.success) return parsed.data;
  throw invalidAnswer(hub.endpoint, `no commit for revision ${revision} of ${repo}`);
}

function toFileSpec(entry: unknown, subject: HttpSubject): FileSpec | null {
  const parsed = treeEntry.safeParse(entry);
  if (!parsed.success)
    throw invalidAnswer(subject.page, `a file entry that is not one: ${JSON.stringify(entry)?.slice(0, 120)}`);
  const { type, path, size, oid, lfs } = parsed.data;
  if (type !== "file") return null;
  if (!isSafePath(path)) throw invalidAnswer(subject.page, `a path that leads outside: ${JSON.stringify(path)}`);
  if (lfs) return { path, size: lfs.size, digest: { algorithm: "sha256", hex: lfs.oid } };
  if (oid?.length !== 40) throw invalidAnswer(subject.page, `no digest for ${path}`);
  return { path, size, digest: { algorithm: "git-sha1", hex: oid } };
}
