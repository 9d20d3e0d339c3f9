import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";
import type { Range } from "../../../src/store/ranges.ts";

export interface FileRequest {
  /** The whole file where nothing less is asked for. */
  range: Range;
  req: IncomingMessage;
  res: ServerResponse;
  /** Of all requests, from 1. */
  nth: number;
}

export interface FileServer {
  url: string;
  /** What was asked for, in order. */
  ranges: Range[];
}

/** Serves one file by ranges. `bend` answers in its place where it gives true, or bends the bytes. */
export async function startFileServer(
  content: Buffer,
  bend: (request: FileRequest) => boolean | Buffer | Promise<boolean | Buffer> = () => false,
): Promise<FileServer> {
  const ranges: Range[] = [];
  const server = createServer(async (req, res) => {
    const [, start, end] = /^bytes=(\d+)-(\d+)$/.exec(req.headers.range ?? "") ?? [];
    const range = start ? { start: Number(start), end: Number(end) + 1 } : { start: 0, end: content.length };
    ranges.push(range);
    const bent = await bend({ range, req, res, nth: ranges.length });
    if (bent === true) return;
    const body = bent || content.subarray(range.start, range.end);
    writeHead(res, range, content.length).end(body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/file`, ranges };
}

/** The head of a right answer. */
export function writeHead(res: ServerResponse, { start, end }: Range, size: number): ServerResponse {
  const whole = start === 0 && end === size;
  return res.writeHead(whole ? 200 : 206, {
    "content-length": end - start,
    ...(whole ? {} : { "content-range": `bytes ${start}-${end - 1}/${size}` }),
  });
}
