import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { request as ask, createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { pipeline } from "node:stream/promises";
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";

/** moto's S3 server, behind a gate that counts requests and makes trouble. moto checks no signatures: the gate asks for them. */

const python = process.env.MUSTER_PYTHON_MOTO || resolve(import.meta.dirname, "../../.interop/moto/bin/python");
export const S3_MISSING = !existsSync(python);
if (S3_MISSING) {
  process.stderr.write(
    `SKIPPED: moto is not at ${python} (scripts/interop-setup installs it), so nothing is tried with S3\n`,
  );
}

export const S3_KEYS = { AWS_ACCESS_KEY_ID: "AKIDMUSTERTEST", AWS_SECRET_ACCESS_KEY: "verysecretverysecret/key+" };

export interface S3Request {
  method: string;
  /** Decoded, without the query. */
  path: string;
  query: URLSearchParams;
  range: string | undefined;
  /** Bytes of the body that came. */
  bytesReceived: number;
  /** Bytes of the body that went. */
  bytesSent: number;
  status: number;
}

export interface S3Fault {
  method?: string;
  path?: string;
  /** The next n of them; all where it is left out. */
  times?: number;
  /** An answer in place of the store's. */
  status?: number;
  code?: string;
  /** Closes the connection after so many bytes of the answer's body. */
  dropAfter?: number;
  /** Never answers. */
  hang?: boolean;
}

export interface S3 extends AsyncDisposable {
  url: string;
  requests: S3Request[];
  faults: S3Fault[];
  /** Awaited before a request is passed on. */
  onRequest: ((request: S3Request) => void | Promise<void>) | undefined;
  reset(): void;
  put(key: string, body: string | Uint8Array, more?: Partial<PutObjectCommandInput>): Promise<void>;
  get(key: string): Promise<Buffer>;
  metadata(key: string): Promise<Record<string, string>>;
  remove(key: string): Promise<void>;
  keys(prefix?: string): Promise<string[]>;
  /** Puts other bytes in the place of a part that an unfinished upload has. */
  replacePart(key: string, number: number, body: Uint8Array): Promise<void>;
  /** Uploads that were begun and neither completed nor aborted. */
  uploads(prefix: string): Promise<string[]>;
}

export const BUCKET = "models";

export async function startS3(): Promise<S3> {
  const moto = spawn(python, ["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], {
    stdio: ["ignore", "ignore", "pipe"],
    // What is set for clients is not for the server.
    env: { PATH: process.env.PATH },
  });
  const [, port] = await firstMatch(moto.stderr, /Running on http:\/\/127\.0\.0\.1:(\d+)/);
  const requests: S3Request[] = [];
  const faults: S3Fault[] = [];
  const gate = createServer((req, res) => void pass(req, res).catch(() => res.destroy()));
  gate.requestTimeout = 0;

  const pass = async (req: IncomingMessage, res: ServerResponse) => {
    const url = new URL(req.url ?? "/", "http://gate");
    const seen: S3Request = {
      method: req.method ?? "",
      path: decodeURIComponent(url.pathname),
      query: url.searchParams,
      range: req.headers.range,
      bytesReceived: 0,
      bytesSent: 0,
      status: 0,
    };
    requests.push(seen);
    await s3.onRequest?.(seen);
    const fault = faults.find(
      ({ times, method, path }) =>
        times !== 0 && (!method || method === seen.method) && (!path || seen.path.includes(path)),
    );
    if (fault?.times !== undefined) fault.times -= 1;
    if (fault?.hang) return;
    const refuse = (status: number, code: string) => {
      seen.status = status;
      req.resume();
      const body = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>made up</Message></Error>`;
      res.writeHead(status, { "content-type": "application/xml" }).end(req.method === "HEAD" ? "" : body);
    };
    if (fault?.status) return refuse(fault.status, fault.code ?? "InternalError");
    const signed =
      req.headers.authorization?.startsWith("AWS4-HMAC-SHA256 ") || url.searchParams.has("X-Amz-Signature");
    if (!signed) return refuse(403, "AccessDenied");
    const onward = ask({ host: "127.0.0.1", port, path: req.url, method: req.method, headers: req.headers });
    req.on("data", (chunk: Buffer) => {
      seen.bytesReceived += chunk.length;
    });
    req.pipe(onward);
    const [answer] = (await once(onward, "response")) as [IncomingMessage];
    seen.status = answer.statusCode ?? 0;
    res.writeHead(seen.status, answer.headers);
    await pipeline(
      answer,
      async function* (body: AsyncIterable<Buffer>) {
        for await (const chunk of body) {
          const part = chunk.subarray(0, (fault?.dropAfter ?? Number.POSITIVE_INFINITY) - seen.bytesSent);
          seen.bytesSent += part.length;
          yield part;
          if (part.length < chunk.length) throw new Error("dropped on purpose");
        }
      },
      res,
    );
  };

  gate.listen(0, "127.0.0.1");
  await once(gate, "listening");
  const client = new S3Client({
    endpoint: `http://127.0.0.1:${port}`,
    forcePathStyle: true,
    region: "us-east-1",
    credentials: { accessKeyId: S3_KEYS.AWS_ACCESS_KEY_ID, secretAccessKey: S3_KEYS.AWS_SECRET_ACCESS_KEY },
  });
  await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
  const s3: S3 = {
    url: `http://127.0.0.1:${(gate.address() as AddressInfo).port}`,
    requests,
    faults,
    onRequest: undefined,
    reset() {
      requests.length = 0;
      faults.length = 0;
      s3.onRequest = undefined;
    },
    put: async (Key, Body, more) =>
      void (await client.send(new PutObjectCommand({ Bucket: BUCKET, Key, Body, ...more }))),
    async get(Key) {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: BUCKET, Key }));
      return Buffer.from(await Body!.transformToByteArray());
    },
    metadata: async (Key) => (await client.send(new HeadObjectCommand({ Bucket: BUCKET, Key }))).Metadata ?? {},
    remove: async (Key) => void (await client.send(new DeleteObjectCommand({ Bucket: BUCKET, Key }))),
    async keys(Prefix) {
      const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix }));
      return Contents.map(({ Key }) => Key!);
    },
    async replacePart(Key, PartNumber, Body) {
      const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: BUCKET }));
      const { UploadId } = Uploads.find((upload) => upload.Key === Key)!;
      await client.send(new UploadPartCommand({ Bucket: BUCKET, Key, UploadId, PartNumber, Body }));
    },
    async uploads(prefix) {
      const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: BUCKET }));
      return Uploads.map(({ Key }) => Key!).filter((key) => key.startsWith(prefix));
    },
    async [Symbol.asyncDispose]() {
      client.destroy();
      gate.closeAllConnections();
      gate.close();
      const ended = once(moto, "exit");
      moto.kill("SIGKILL");
      await ended;
    },
  };
  return s3;
}

async function firstMatch(stream: NodeJS.ReadableStream, pattern: RegExp): Promise<RegExpExecArray> {
  const seen: string[] = [];
  for await (const line of createInterface({ input: stream })) {
    seen.push(line);
    const match = pattern.exec(line);
    if (!match) continue;
    // Nobody reads on, and the server must not wait for that.
    stream.resume();
    return match;
  }
  throw new Error(`moto ended: ${seen.join("\n")}`);
}
