import { createHash } from "node:crypto";
import { entryNotFound } from "./access.ts";
import { type Exchange, sendJson } from "./exchange.ts";
import type { Commit, Entry } from "./repository.ts";
import { xetHashOf } from "./xet.ts";

/** The Hub's page sizes; `expand` makes an entry expensive there. */
const EXPANDED_PAGE = 50;

/** `GET /api/models/{id}/tree/{rev}[/{path}]` */
export function sendTree(exchange: Exchange, commit: Commit, { folder, xet }: { folder: string; xet: boolean }): void {
  const { hub, req, seen } = exchange;
  const query = new URLSearchParams(seen.query);
  const expand = isTrue(query.get("expand"));
  const all = listFolder(commit, folder, isTrue(query.get("recursive")));
  const size = hub.faults.pageSize ?? (expand ? Math.min(EXPANDED_PAGE, hub.pageSize) : hub.pageSize);
  const from = Number(Buffer.from(query.get("cursor") ?? "", "base64url").toString() || 0);
  const page = all.slice(from, from + size).map((path) => describe(commit, path, { expand, xet })!);
  const more = from + size < all.length;
  query.set("cursor", Buffer.from(String(from + size)).toString("base64url"));
  // From the Host the client used: both clients send their token to whatever origin stands here.
  const next = `<http://${req.headers.host}${seen.path}?${query}>; rel="next"`;
  sendJson(exchange, page, more ? { Link: next } : {});
}

/** `POST /api/models/{id}/paths-info/{rev}`: JSON from JS, a form from Python; unknown paths are left out. */
export async function sendPathsInfo(exchange: Exchange, commit: Commit, xet: boolean): Promise<void> {
  const body = await readBody(exchange);
  let paths: string[];
  let expand: boolean;
  if (exchange.req.headers["content-type"]?.startsWith("application/json")) {
    const asked = JSON.parse(body) as { paths?: string[]; expand?: boolean };
    paths = asked.paths ?? [];
    expand = asked.expand === true;
  } else {
    const form = new URLSearchParams(body);
    paths = form.getAll("paths");
    expand = isTrue(form.get("expand"));
  }
  sendJson(
    exchange,
    paths.flatMap((path) => describe(commit, path, { expand, xet }) ?? []),
  );
}

async function readBody({ req }: Exchange): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** Python writes booleans with a capital letter. */
function isTrue(value: string | null): boolean {
  return value?.toLowerCase() === "true" || value === "1";
}

/** Paths under a folder, folders included, in order. */
function listFolder(commit: Commit, folder: string, recursive: boolean): string[] {
  const prefix = folder === "" ? "" : `${folder}/`;
  const paths = new Set<string>();
  for (const path of commit.files.keys()) {
    if (!path.startsWith(prefix)) continue;
    const segments = path.slice(prefix.length).split("/");
    const deepest = recursive ? segments.length : 1;
    for (let depth = 1; depth <= deepest; depth++) paths.add(prefix + segments.slice(0, depth).join("/"));
  }
  if (paths.size === 0 && folder !== "") throw entryNotFound(commit);
  return [...paths].sort();
}

interface Details {
  expand: boolean;
  /** Say under which name Xet holds a file. */
  xet: boolean;
}

function describe(commit: Commit, path: string, { expand, xet }: Details): object | undefined {
  const entry = commit.files.get(path);
  if (entry) return describeFile(entry, { expand, xet });
  const inside = [...commit.files.values()].filter((file) => file.path.startsWith(`${path}/`));
  if (inside.length === 0) return undefined;
  const oid = createHash("sha1")
    .update(`tree ${inside.map((file) => file.oid + file.path)}`)
    .digest("hex");
  return { type: "directory", oid, size: 0, path, ...(expand && { lastCommit: inside.at(-1)!.lastCommit }) };
}

function describeFile({ path, size, oid, lfs, lastCommit }: Entry, { expand, xet }: Details): object {
  const securityFileStatus = { status: "safe", avScan: { status: "safe" }, pickleImportScan: null };
  return {
    ...{ type: "file", oid, size, path },
    ...(lfs && { lfs }),
    ...(lfs && xet && { xetHash: xetHashOf(lfs.oid) }),
    ...(expand && { lastCommit, securityFileStatus }),
  };
}
