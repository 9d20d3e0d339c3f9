import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { Content } from "./content.ts";
import { type Exchange, Refusal, sendHead } from "./exchange.ts";
import { takeFault } from "./faults.ts";
import { sendBody } from "./send-body.ts";

export interface FileAnswer {
  content: Content;
  etag: string;
  headers: Record<string, string>;
}

let changes = 0;

/** 200, 206, 412 or 416 for the bytes of a file, bent by whichever fault switches hit the request. */
export async function sendFile(exchange: Exchange, answer: FileAnswer): Promise<void> {
  const { hub, req, seen } = exchange;
  const { size } = answer.content;
  const etag = takeFault(hub.faults, "changeEtag", seen) ? `"changed-${++changes}"` : answer.etag;
  const headers: Record<string, string | number> = { "Accept-Ranges": "bytes", ...answer.headers, ETag: etag };

  const ifMatch = req.headers["if-match"];
  if (ifMatch !== undefined && ifMatch !== "*" && ifMatch !== etag) throw new Refusal(412, "Precondition Failed");

  if (size === 0) return sendEmpty(exchange, headers);
  const range = wantedRange(exchange, size, etag);
  if (range && range.start >= size) {
    throw new Refusal(416, "The requested range is not satisfiable", { "Content-Range": `bytes */${size}` });
  }
  const { bytes } = answer.content;
  if (!range && bytes && acceptsGzip(exchange) && takeFault(hub.faults, "gzip", seen)) {
    return sendGzip(exchange, bytes, headers);
  }
  const { start, end } = range ?? { start: 0, end: size };
  if (range) {
    const bent = takeFault(hub.faults, "wrongContentRange", seen);
    const shift = bent ? 1 : 0;
    headers["Content-Range"] = bent?.value ?? `bytes ${start + shift}-${end - 1 + shift}/${size}`;
  }
  await sendBody(exchange, { content: answer.content, start, end, status: range ? 206 : 200, headers });
}

function sendEmpty(exchange: Exchange, headers: Record<string, string | number>): void {
  const asked = exchange.req.headers.range !== undefined;
  if (asked && takeFault(exchange.hub.faults, "strictEmpty", exchange.seen)) {
    throw new Refusal(416, "The requested range is not satisfiable", { "Content-Range": "bytes */0" });
  }
  sendHead(exchange, 200, { ...headers, ...(asked && { "Content-Range": "bytes */0" }), "Content-Length": 0 });
  exchange.res.end();
}

/** The one range asked for, with an exclusive end. Several ranges are answered as none, as object stores do. */
function wantedRange(exchange: Exchange, size: number, etag: string): { start: number; end: number } | undefined {
  const { hub, req, seen } = exchange;
  const match = /^bytes=(\d*)-(\d*)$/.exec(req.headers.range ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return undefined;
  const ifRange = req.headers["if-range"];
  if (ifRange !== undefined && ifRange !== etag) return undefined;
  if (takeFault(hub.faults, "ignoreRange", seen)) return undefined;
  if (match[1] === "") return { start: Math.max(0, size - Number(match[2])), end: size };
  const start = Number(match[1]);
  const last = match[2] === "" ? size - 1 : Math.min(Number(match[2]), size - 1);
  return { start, end: last + 1 };
}

/** Only the Hub itself compresses, and only what is not LFS. */
function acceptsGzip({ req, seen }: Exchange): boolean {
  return seen.host === "hub" && /\bgzip\b/.test(String(req.headers["accept-encoding"] ?? ""));
}

async function sendGzip(exchange: Exchange, bytes: Buffer, headers: Record<string, string | number>): Promise<void> {
  const body = await promisify(gzip)(bytes);
  sendHead(exchange, 200, { ...headers, ETag: `W/${headers.ETag}`, "Content-Encoding": "gzip" });
  if (exchange.req.method === "HEAD") return void exchange.res.end();
  exchange.seen.bytesSent += body.length;
  // Two writes, so that node:http frames it in chunks.
  exchange.res.write(body.subarray(0, 1));
  exchange.res.end(body.subarray(1));
}
