import type * as z from "zod";
import { MusterError } from "../../errors.ts";
import { type AskOptions, ask } from "../ask.ts";
import type { HttpSubject } from "../http-errors.ts";

/** How a hub is asked: its token is sent to its own origin, and nowhere else. */

/** A hub, and the token that it alone is sent. */
export interface HubEndpoint {
  endpoint: string;
  token: string | null;
}

/** Where a file of a commit is had: the library does not encode paths such as `a#b.txt`, so this is ours. */
export function resolveUrl(endpoint: string, repo: string, commit: string, path: string): string {
  return `${endpoint}/${repo}/resolve/${encodeURIComponent(commit)}/${path.split("/").map(encodeURIComponent).join("/")}`;
}

export function subjectOf(repo: string, hub: HubEndpoint): HttpSubject {
  return { name: repo, page: `${hub.endpoint}/${repo}`, tokenSent: hub.token !== null };
}

/** `fetch` for the library: token only to the hub's origin, retries, and errors in our own words. */
export function hubFetch(hub: HubEndpoint, subject: HttpSubject, options: AskOptions, json: z.ZodType): typeof fetch {
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

export function authorization({ token }: HubEndpoint): Record<string, string> {
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

export function invalidAnswer(where: string, what: string): MusterError {
  return new MusterError("RESPONSE_INVALID", `${where} answered with ${what}.`, {
    hint: "Check that HF_ENDPOINT is a hub and that no proxy answers in its place.",
  });
}
