import { posix } from "node:path";
import { listFiles, modelInfo } from "@huggingface/hub";
import { type Dispatcher, fetch as undiciFetch } from "undici";
import { z } from "zod";
import { MusterError } from "../errors.ts";
import type { FileSpec } from "../model.ts";
import { retry } from "../retry.ts";
import { VERSION } from "../system.ts";
import { type HttpSubject, httpError, networkError } from "./http-errors.ts";

/** Asks a Hugging Face hub (or what keeps its contract) about models. The library lists and describes; bytes are fetched by our own engine. */

export interface HubOptions {
  endpoint: string;
  token: string | null;
  dispatcher: Dispatcher;
  /** Attempts after the first, per request. */
  retries: number;
  onRetry?: (error: MusterError, delayMs: number) => void;
}

export interface RepoDescription {
  /** 40 hex digits. */
  commit: string;
  files: FileSpec[];
}

export const USER_AGENT = `muster/${VERSION}`;

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
  hub: HubOptions,
  signal?: AbortSignal,
): Promise<RepoDescription> {
  const subject = subjectOf(repo, hub);
  const pinned = commitId.safeParse(revision).success;
  const commit = pinned ? revision : await resolveRevision(repo, revision, hub, signal);
  const fetch = hubFetch(hub, subject, { signal, json: z.array(z.unknown()) });
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

/** The text of a small file. */
export async function readRepoFile(
  repo: string,
  commit: string,
  path: string,
  hub: HubOptions,
  signal?: AbortSignal,
): Promise<string> {
  const fetch = hubFetch(hub, subjectOf(repo, hub), { signal });
  const response = await fetch(resolveUrl(hub.endpoint, repo, commit, path));
  return response.text();
}

/** Where a file of a commit is had: the library does not encode paths such as `a#b.txt`, so this is ours. */
export function resolveUrl(endpoint: string, repo: string, commit: string, path: string): string {
  return `${endpoint}/${repo}/resolve/${encodeURIComponent(commit)}/${path.split("/").map(encodeURIComponent).join("/")}`;
}

export function subjectOf(repo: string, hub: Pick<HubOptions, "endpoint" | "token">): HttpSubject {
  return { name: repo, page: `${hub.endpoint}/${repo}`, tokenSent: hub.token !== null };
}

async function resolveRevision(repo: string, revision: string, hub: HubOptions, signal?: AbortSignal): Promise<string> {
  const fetch = hubFetch(hub, subjectOf(repo, hub), { signal, json: z.object({}) });
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

/** A relative path that stays below the folder it is joined to. */
export function isSafePath(path: string): boolean {
  const parts = path.split("/");
  return (
    path.length > 0 &&
    !path.includes("\\") &&
    !path.includes("\0") &&
    parts.every((part) => part !== "" && part !== "." && part !== "..")
  );
}

interface FetchOptions {
  signal?: AbortSignal;
  /** What the answer has to be; any text without it. */
  json?: z.ZodType;
}

/** `fetch` for the library: token only to the hub's origin, retries, and errors in our own words. */
function hubFetch(hub: HubOptions, subject: HttpSubject, { signal, json }: FetchOptions): typeof globalThis.fetch {
  const ask = async (url: string) => {
    try {
      const response = await undiciFetch(url, {
        headers: { "user-agent": USER_AGENT, ...(hub.token ? { authorization: `Bearer ${hub.token}` } : {}) },
        dispatcher: hub.dispatcher,
        signal,
      });
      // Read here, so that an answer that breaks off is asked for again.
      const text = await response.text();
      if (response.ok) return { text, headers: [...response.headers] };
      throw httpError({ status: response.status, url, header: (name) => response.headers.get(name), text }, subject);
    } catch (error) {
      throw networkError(error, url);
    }
  };
  const request = async (input: string | URL | Request) => {
    const url = onHub(String(input), hub.endpoint);
    const { text, headers } = await retry(() => ask(url), {
      retries: hub.retries,
      minDelayMs: 500,
      maxDelayMs: 15_000,
      signal,
      onRetry: hub.onRetry,
    });
    if (json && !isJson(text, json))
      throw invalidAnswer(url, `something else than it was asked for: ${text.slice(0, 80)}`);
    return new Response(text, { headers });
  };
  return request as typeof globalThis.fetch;
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
