import { posix } from "node:path";
import { listFiles, modelInfo } from "@huggingface/hub";
import { z } from "zod";
import { MusterError } from "../../errors.ts";
import type { Architecture, FileSpec } from "../../model.ts";
import { type AskOptions, ask, askStart } from "../ask.ts";
import type { HttpSubject } from "../http-errors.ts";
import type { Origin } from "../origin.ts";
import { readArchitecture } from "../read-architecture.ts";
import { readGgufStart } from "../read-gguf.ts";
import { isSafePath } from "./safe-path.ts";

/** Asks a Hugging Face hub (or what keeps its contract) about models. The library lists and describes; bytes are fetched by our own engine. */

/** A hub, and the token that it alone is sent. */
export interface HubEndpoint {
  endpoint: string;
  token: string | null;
}

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
  };
}

/** Where a file of a commit is had: the library does not encode paths such as `a#b.txt`, so this is ours. */
export function resolveUrl(endpoint: string, repo: string, commit: string, path: string): string {
  return `${endpoint}/${repo}/resolve/${encodeURIComponent(commit)}/${path.split("/").map(encodeURIComponent).join("/")}`;
}

export function subjectOf(repo: string, hub: HubEndpoint): HttpSubject {
  return { name: repo, page: `${hub.endpoint}/${repo}`, tokenSent: hub.token !== null };
}

async function resolveRevision(repo: string, revision: string, hub: HubEndpoint, options: AskOptions): Promise<string> {
  const fetch = hubFetch(hub, subjectOf(repo, hub), options, z.object({}));
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

/** `fetch` for the library: token only to the hub's origin, retries, and errors in our own words. */
function hubFetch(hub: HubEndpoint, subject: HttpSubject, options: AskOptions, json: z.ZodType): typeof fetch {
  const request = async (input: string | URL | Request) => {
    const url = onHub(String(input), hub.endpoint);
    const { text, headers } = await ask(url, subject, options, authorization(hub));
    if (!isJson(text, json)) throw invalidAnswer(url, `something else than it was asked for: ${text.slice(0, 80)}`);
    const header = (name: string) => headers.find(([key]) => key.toLowerCase() === name.toLowerCase())?.[1] ?? null;
    // What the library reads of an answer. A Response of the platform would load all of its fetch.
    return {
      ok: true,
      status: 200,
      headers: { get: header },
      text: async () => text,
      json: async () => JSON.parse(text),
    };
  };
  return request as unknown as typeof fetch;
}

function authorization({ token }: HubEndpoint): Record<string, string> {
  return token ? { authorization: `Bearer ${token}` } : {};
}

function isJson(text: string, schema: z.ZodType): boolean {
  try {
    return schema.safeParse(JSON.parse(text)).success;
  } catch {
    return false;
  }
}

/** Pages are followed on the hub's origin only: a link that names another host is asked of the hub itself. */
function onHub(url: string, endpoint: string): string {
  const target = new URL(url);
  const hub = new URL(endpoint);
  if (target.origin === hub.origin) return url;
  return `${endpoint}${target.pathname}${target.search}`;
}

function invalidAnswer(where: string, what: string): MusterError {
  return new MusterError("RESPONSE_INVALID", `${where} answered with ${what}.`, {
    hint: "Check that HF_ENDPOINT is a hub and that no proxy answers in its place.",
  });
}
