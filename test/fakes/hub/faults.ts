import type { HostName, HubRequest } from "./request-log.ts";

/** Which requests a switch hits. A request it would not change is not counted. */
export interface When {
  /** Only the next n matching requests; the number counts down in place. Without it the switch stays on. */
  times?: number;
  /** Lets the first n matching requests pass. */
  skip?: number;
  /** Part of the decoded path; the CDN's paths hold the file's name as well. */
  path?: string | RegExp;
  host?: HostName;
  method?: string;
}

export interface FaultSettings {
  /** Closes connections as they are accepted, and open ones at their next request. */
  refuse: When;
  /** 429 with RateLimit headers from the hub and Retry-After from the CDN; `retryAfter` is sent as it stands. */
  rateLimit: When & { seconds?: number; quota?: number; retryAfter?: string };
  /** 503, or `status`. */
  serverError: When & { status?: number; retryAfter?: string };
  /** Not even a status line, for `ms` or until the client leaves. */
  stallStart: When & { ms?: number };
  /** Closes the connection after so many bytes of the body. */
  drop: When & { afterBytes: number };
  /** Stops sending after so many bytes of the body (0: after the headers), for `ms` or until the client leaves. */
  stallBody: When & { afterBytes: number; ms?: number };
  slow: When & { bytesPerSecond: number };
  /** 200 and the whole file for a Range request. */
  ignoreRange: When;
  /** Inverts the byte at this offset of the file. */
  flipByte: When & { offset: number };
  /** Shifted by one, or `value` as it stands. */
  wrongContentRange: When & { value?: string };
  /** Content-Length and body exceed what Content-Range (or the listed size) announces. */
  longBody: When & { extraBytes: number };
  /** Content-Length and body stay below what Content-Range (or the listed size) announces. */
  shortBody: When & { missingBytes: number };
  /** The Date of the answer. */
  wrongClock: When & { aheadMs: number };
  /** Another ETag on every answer it hits. */
  changeEtag: When;
  /** The CDN's 403, after so many uses of a signed URL or so many ms from its making, whichever comes first. */
  expireSignatures: When & { afterUses?: number; afterMs?: number };
  /** Small files take a 307 hop with a relative Location. */
  relativeRedirect: When;
  /** Signed URLs name the hub's host (with the CDN's port). */
  cdnOnHubName: When;
  /** Small files gzip-encoded without Content-Length, for clients that accept it. */
  gzip: When;
  /** 416 to a Range request for an empty file, as strict object stores answer. */
  strictEmpty: When;
}

type Switch<S> = S | S[] | (When extends S ? true : never);

export type Faults = { [Name in keyof FaultSettings]?: Switch<FaultSettings[Name]> } & {
  /** Entries on a page of the tree listing. */
  pageSize?: number;
};

/** The switch that hits this request, if one does; taking it counts it down. */
export function takeFault<Name extends keyof FaultSettings>(
  faults: Faults,
  name: Name,
  request: Pick<HubRequest, "host" | "method" | "path">,
  changes: (setting: FaultSettings[Name]) => boolean = () => true,
): FaultSettings[Name] | undefined {
  const held = faults[name] as FaultSettings[Name] | FaultSettings[Name][] | true | undefined;
  if (held === undefined) return undefined;
  for (const setting of held === true ? [{} as FaultSettings[Name]] : ([held].flat() as FaultSettings[Name][])) {
    if (setting.times === 0 || !hits(setting, request) || !changes(setting)) continue;
    if (setting.skip) {
      setting.skip--;
      continue;
    }
    if (setting.times !== undefined) setting.times--;
    return setting;
  }
  return undefined;
}

function hits(when: When, request: Pick<HubRequest, "host" | "method" | "path">): boolean {
  if (when.host !== undefined && when.host !== request.host) return false;
  if (when.method !== undefined && when.method !== request.method) return false;
  if (when.path === undefined) return true;
  const path = decoded(request.path);
  return typeof when.path === "string" ? path.includes(when.path) : when.path.test(path);
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
