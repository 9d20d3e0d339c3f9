import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";

/** How an Ollama server makes models of files that it was sent: HEAD and POST /api/blobs, and /api/create. */

/** Each applies to the next `times` requests it can apply to; once where that is left out. */
interface Times {
  times?: number;
}

export interface MakingFaults {
  /** Of a file that is sent, in place of taking it. */
  blobStatus?: Times & { status: number; error?: string };
  /** Breaks the connection off after so many bytes of a file. */
  blobReset?: Times & { afterBytes: number };
  /** Takes the whole file, and then breaks off before it says so. */
  blobLost?: Times;
  /** In place of beginning. */
  createStatus?: Times & { status: number; error: string };
  /** A line of error in the middle. */
  createError?: Times & { error: string };
  /** The answer ends as if all were said. */
  createCut?: Times;
}

export interface OllamaMaking {
  blobs: Map<string, Buffer>;
  /** Of models that were made, by name as they were asked for. */
  made: Map<string, { files: Record<string, string>; quantize?: string }>;
  faults: MakingFaults;
  /** Waited for in the middle of making. */
  hold: Promise<unknown> | null;
  /** Settles when a client has gone while its model was made. */
  left: Promise<void>;
  /** Bytes of files that came, also of those that broke off. */
  receivedBytes: number;
  /** By method and path. */
  asked: string[];
}

interface Models {
  making: OllamaMaking;
  models: { name: string; digest: string; size: number; modified_at: string; details?: object }[];
}

const leaving = new WeakMap<OllamaMaking, () => void>();

export function newMaking(): OllamaMaking {
  const { promise, resolve } = Promise.withResolvers<void>();
  const making: OllamaMaking = {
    ...{ blobs: new Map(), made: new Map(), faults: {}, hold: null, left: promise, receivedBytes: 0, asked: [] },
  };
  leaving.set(making, resolve);
  return making;
}

/** Whether the request was one of these, and is answered. */
export async function answerMaking(api: Models, request: IncomingMessage, response: ServerResponse): Promise<boolean> {
  const { making } = api;
  const { method = "", url = "" } = request;
  const [, digest] = /^\/api\/blobs\/(sha256[:-][0-9a-fA-F]{64})$/.exec(url) ?? [];
  if (digest === undefined && url !== "/api/create") return false;
  making.asked.push(`${method} ${url}`);
  if (digest !== undefined && method === "HEAD")
    response.writeHead(making.blobs.has(digest.replace("-", ":")) ? 200 : 404).end();
  else if (digest !== undefined) await takeBlob(making, digest.replace("-", ":"), request, response);
  else await create(api, request, response);
  return true;
}

async function takeBlob(making: OllamaMaking, digest: string, request: IncomingMessage, response: ServerResponse) {
  const json = (status: number, body: object = {}) =>
    void response.writeHead(status, { "content-type": "application/json; charset=utf-8" }).end(JSON.stringify(body));
  const refused = take(making.faults, "blobStatus");
  if (refused) return json(refused.status, { error: refused.error ?? "no" });
  if (making.blobs.has(digest)) return json(200);
  const reset = take(making.faults, "blobReset");
  const pieces: Buffer[] = [];
  let received = 0;
  for await (const piece of request as AsyncIterable<Buffer>) {
    pieces.push(piece);
    received += piece.length;
    making.receivedBytes += piece.length;
    if (reset && received >= reset.afterBytes) return void request.socket.resetAndDestroy();
  }
  const content = Buffer.concat(pieces);
  const found = `sha256:${createHash("sha256").update(content).digest("hex")}`;
  if (found !== digest) return json(400, { error: `digest mismatch, expected "${digest}", got "${found}"` });
  making.blobs.set(digest, content);
  if (take(making.faults, "blobLost")) return void request.socket.resetAndDestroy();
  json(201);
}

interface Asked {
  model?: string;
  name?: string;
  files?: Record<string, string>;
  quantize?: string;
  stream?: boolean;
}

const FULL = /\b(f16|bf16|f32|fp16|fp32)\b/i;
const QUANTIZATIONS = /^(q4_0|q4_1|q5_0|q5_1|q8_0|q[2-6]_k(_[sml])?|f16|f32|bf16)$/i;

async function create(api: Models, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { making } = api;
  let text = "";
  for await (const piece of request) text += piece;
  const asked = JSON.parse(text) as Asked;
  const { files = {}, quantize } = asked;
  const model = asked.model ?? asked.name ?? "";
  const refuse = (status: number, error: string) =>
    void response
      .writeHead(status, { "content-type": "application/json; charset=utf-8" })
      .end(JSON.stringify({ error }));
  const refused = take(making.faults, "createStatus");
  if (refused) return refuse(refused.status, refused.error);
  if (!/^[\w][\w./:-]*$/.test(model)) return refuse(400, "invalid model name");
  if (Object.keys(files).length === 0) return refuse(400, "neither 'from' or 'files' was specified");
  const absolute = Object.keys(files).find((name) => name.startsWith("/") || name.split("/").includes(".."));
  if (absolute !== undefined) return refuse(400, `invalid file path: ${absolute}`);
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  response.on("close", () => {
    if (!response.writableFinished) leaving.get(making)?.();
  });
  const say = (value: object) => void response.write(`${JSON.stringify(value)}\n`);
  const fail = (error: string) => {
    say({ error });
    response.end();
  };
  const absent = Object.values(files).find((digest) => !making.blobs.has(digest));
  if (absent !== undefined) return fail(`open blobs/${absent.replace(":", "-")}: no such file or directory`);
  const contents = Object.entries(files).map(([name, digest]) => ({ name, content: making.blobs.get(digest)! }));
  const gguf = contents.find(({ content }) => content.subarray(0, 4).toString() === "GGUF");
  const isSafetensors = contents.some(({ name }) => name.endsWith(".safetensors"));
  say({ status: gguf ? "parsing GGUF" : "converting model" });
  if (!gguf && !isSafetensors) return fail("no Modelfile or safetensors files found; unsupported content type");
  if (!gguf && !contents.some(({ name }) => name === "config.json"))
    return fail("unsupported architecture: missing config.json");
  await making.hold;
  // Who leaves ends the work.
  if (response.destroyed) return;
  const broken = take(making.faults, "createError");
  if (broken) return fail(broken.error);
  if (quantize) {
    if (!QUANTIZATIONS.test(quantize)) return fail(`unsupported quantization type ${quantize.toUpperCase()}`);
    // Whoever writes a GGUF says so in its name, as far as a fake is concerned.
    if (gguf && !FULL.test(gguf.name)) return fail("quantization is only supported for F16 and F32 models");
    const status = `quantizing F16 model to ${quantize}`;
    for (const completed of [0, 500, 1000]) say({ status, digest: "0000000000000000000", total: 1000, completed });
    say({ status: "verifying conversion" });
  }
  if (take(making.faults, "createCut")) return void response.end();
  for (const digest of Object.values(files)) say({ status: `using existing layer ${digest}` });
  say({ status: "writing manifest" });
  making.made.set(model, { files, ...(quantize ? { quantize } : {}) });
  const name = /:[^/]*$/.test(model) ? model : `${model}:latest`;
  const size = contents.reduce((sum, { content }) => sum + content.length, 0);
  const digest = createHash("sha256").update(text).digest("hex");
  const tag = {
    ...{ name, digest, size, modified_at: "2026-01-02T03:04:05.678Z" },
    details: { format: "gguf", quantization_level: (quantize ?? quantizationOf(gguf?.name)).toUpperCase() },
  };
  api.models.splice(0, api.models.length, ...api.models.filter((other) => other.name !== name), tag);
  say({ status: "success" });
  response.end();
}

/** Of a file that is named for it. */
function quantizationOf(name = ""): string {
  return /[.-](q\d\w*|f16|f32|bf16)\.gguf$/i.exec(name)?.[1] ?? "F16";
}

function take<Name extends keyof MakingFaults>(faults: MakingFaults, name: Name): MakingFaults[Name] | undefined {
  const fault = faults[name];
  if (!fault || fault.times === 0) return undefined;
  fault.times = (fault.times ?? 1) - 1;
  return fault;
}
