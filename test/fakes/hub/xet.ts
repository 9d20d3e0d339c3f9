import { createHash, randomBytes } from "node:crypto";
import { type Content, contentOf, piecesOf } from "./content.ts";
import { type Exchange, Refusal, sendJson } from "./exchange.ts";
import type { Commit, Entry, Repository } from "./repository.ts";
import { sendFile } from "./send-file.ts";

/**
 * Xet behind the hub: the file in chunks (scheme 0, as they are), the chunks in blocks called xorbs, and a list of which
 * chunks of which xorbs make a range of the file. Here each file has xorbs of its own.
 */

const CHUNK = 64 * 1024;
const CHUNKS_IN_XORB = 16;
const HEADER = 8;
const XORB = CHUNK * CHUNKS_IN_XORB;
export const XET_TYPE = "application/vnd.xet-fileinfo+json";

/** What a read token looks like; the object store's side takes those that were given out by any hub of the process. */
const readTokens = new Set<string>();
const HOUR_S = 3600;

/** Xet's own name for the content: no digest that a client could check. */
export function xetHashOf(sha256: string): string {
  return createHash("sha256").update(`xet ${sha256}`).digest("hex");
}

/** What a hub adds to its answers for a file in Xet; clients make absolute URLs of nothing else. */
export function xetHeaders({ hub, req }: Exchange, repo: Repository, commit: Commit, hash: string) {
  const auth = `http://${req.headers.host}/api/models/${repo.spec.id}/xet-read-token/${commit.id}`;
  const info = `${hub.cdnUrl}/xet/v1/reconstructions/${hash}`;
  return { "X-Xet-Hash": hash, Link: `<${auth}>; rel="xet-auth", <${info}>; rel="xet-reconstruction-info"` };
}

/** `GET /api/models/{id}/xet-read-token/{commit}` */
export function sendReadToken(exchange: Exchange): void {
  const accessToken = `xet-${randomBytes(16).toString("hex")}`;
  readTokens.add(accessToken);
  const casUrl = `${exchange.hub.cdnUrl}/xet`;
  const exp = Math.floor(Date.now() / 1000) + HOUR_S;
  sendJson(
    exchange,
    { accessToken, exp, casUrl },
    { "X-Xet-Access-Token": accessToken, "X-Xet-Token-Expiration": String(exp), "X-Xet-Cas-Url": casUrl },
  );
}

/** `/xet/v2/reconstructions/{hash}` and `/xet/xorbs/{hash}/{number}`, on the object store's host. */
export async function answerXet(exchange: Exchange): Promise<void> {
  const { hub, seen, req } = exchange;
  const [, kind, hash = "", number] =
    /^\/xet\/(v2\/reconstructions|xorbs)\/([0-9a-f]{64})(?:\/(\d+))?$/.exec(seen.path) ?? [];
  const [repo, entry] = findEntry(exchange, hash);
  seen.repo = repo.spec.id;
  if (kind !== "xorbs") {
    if (!seen.token || !readTokens.has(seen.token)) throw new Refusal(401, "Unauthorized");
    return sendReconstruction(exchange, entry, hash);
  }
  if (req.headers.authorization !== undefined) throw new Refusal(400, "Only one auth mechanism allowed");
  if (!hub.signer.check(seen.path, new URLSearchParams(seen.query))) throw new Refusal(403, "Access denied");
  const content = await xorb(entry.content, Number(number));
  await sendFile(exchange, { content, etag: `"${hash}-${number}"`, headers: {} });
}

function findEntry({ hub }: Exchange, hash: string): [Repository, Entry] {
  for (const repo of hub.repos.values()) {
    const entry = repo.spec.xet ? repo.lfsObject((lfs) => xetHashOf(lfs.oid) === hash) : undefined;
    if (entry) return [repo, entry];
  }
  throw new Refusal(404, "Not found");
}

function sendReconstruction(exchange: Exchange, { size }: Entry, hash: string): void {
  const { hub, req } = exchange;
  const [, from = "0", to = `${size - 1}`] = /^bytes=(\d+)-(\d+)$/.exec(req.headers.range ?? "") ?? [];
  const [start, end] = [Number(from), Math.min(size, Number(to) + 1)];
  if (start >= size) throw new Refusal(416, "The requested range is not satisfiable");
  const terms: object[] = [];
  const xorbs: Record<string, object[]> = {};
  const first = Math.floor(start / CHUNK);
  for (let chunk = first; chunk * CHUNK < end; ) {
    const number = Math.floor(chunk / CHUNKS_IN_XORB);
    const last = Math.min((number + 1) * CHUNKS_IN_XORB, Math.ceil(end / CHUNK));
    const inside = (at: number) => at - number * CHUNKS_IN_XORB;
    const length = Math.min(last * CHUNK, size) - chunk * CHUNK;
    const xorbHash = createHash("sha256").update(`xorb ${hash} ${number}`).digest("hex");
    const chunks = { start: inside(chunk), end: inside(last) };
    const begin = chunks.start * (CHUNK + HEADER);
    const bytes = { start: begin, end: begin + length + (last - chunk) * HEADER - 1 };
    const path = `/xet/xorbs/${hash}/${number}`;
    terms.push({ hash: xorbHash, unpacked_length: length, range: chunks });
    xorbs[xorbHash] = [{ url: `${hub.cdnUrl}${path}?${hub.signer.sign(path)}`, ranges: [{ chunks, bytes }] }];
    chunk = last;
  }
  sendJson(exchange, { offset_into_first_range: start - first * CHUNK, terms, xorbs });
}

async function xorb(content: Content, number: number): Promise<Content> {
  const pieces: Buffer[] = [];
  for (let at = number * XORB; at < Math.min(content.size, (number + 1) * XORB); at += CHUNK) {
    const length = Math.min(CHUNK, content.size - at);
    const header = Buffer.alloc(HEADER);
    header.writeUIntLE(length, 1, 3);
    header.writeUIntLE(length, 5, 3);
    pieces.push(header);
    for await (const piece of piecesOf(content, at, at + length)) pieces.push(Buffer.from(piece));
  }
  return contentOf(Buffer.concat(pieces));
}
