import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import * as z from "zod";
import { type ChunkSink, type Job, type JobOutcome, jobError, toJobFailure } from "../job.ts";
import type { Logger } from "../log.ts";
import { JOB_KINDS } from "../model.ts";
import type { JobErrorCode } from "../protocol.ts";
import type { JobServer } from "./job-server.ts";
import { check, tooLarge } from "./kinds/check.ts";
import { JOB_LIMITS } from "./limits.ts";

const requestSchema = z.object({
  kind: z.enum(JOB_KINDS),
  /** Null: the first that takes such jobs. */
  model: z.string().nullable().default(null),
  input: z.unknown(),
  stream: z.boolean().default(false),
  timeoutMs: z.int().positive().default(600_000),
});

/** Why a job was turned away, for who stands before the worker. */
const REFUSALS: Partial<Record<JobErrorCode, string>> = {
  BUSY: "All slots for such jobs are taken, or the worker is paused.",
  DRAINING: "The worker is ending, and takes no more jobs.",
  GPU_LOST: "A GPU of this worker is gone.",
  MODEL_NOT_READY: "The worker, or the model, is not ready.",
  UNSUPPORTED: "No model of this worker takes such jobs, or it has not the one that was asked for.",
};

/**
 * A job from this machine: it takes a slot like any other. The request is {kind, model?, input, stream?, timeoutMs?}; the
 * answer a line of JSON for each piece, {chunk}, and a last one, {outcome}. Who goes away has cancelled it. Never rejects.
 */
export async function serveLocalJob(
  jobs: JobServer,
  { request, response, log }: { request: IncomingMessage; response: ServerResponse; log: Logger },
): Promise<void> {
  const gone = new AbortController();
  response.on("close", () => {
    gone.abort(jobError("CANCELLED", "Whoever asked has gone.", "Ask again."));
  });
  response.on("error", (error) => log.debug({ err: error }, "A local job's answer was not taken"));
  const write = (line: object) => {
    if (response.destroyed) return true;
    return response.write(`${JSON.stringify(line)}\n`);
  };
  const onChunk: ChunkSink = (chunk) =>
    write({ chunk }) ? null : once(response, "drain", { signal: gone.signal }).then(noop, noop);
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  const outcome = await readJob(jobs, request).then((job) => run(jobs, job, { onChunk, signal: gone.signal }), failed);
  write({ outcome });
  response.end();
}

async function run(jobs: JobServer, job: Job, calls: Parameters<JobServer["start"]>[1]): Promise<JobOutcome> {
  const started = jobs.start(job, calls);
  if (typeof started !== "string") return started;
  return failed(jobError(started, REFUSALS[started] ?? "The job was turned away.", "See `muster status`."));
}

async function readJob(jobs: JobServer, request: IncomingMessage): Promise<Job> {
  const pieces: Buffer[] = [];
  let left = JOB_LIMITS.inputBytes;
  for await (const piece of request as AsyncIterable<Buffer>) {
    left -= piece.length;
    if (left < 0) throw tooLarge("input", `is larger than ${JOB_LIMITS.inputBytes / 2 ** 20} MiB`);
    pieces.push(piece);
  }
  const { timeoutMs, model, ...asked } = check(requestSchema, parseJson(Buffer.concat(pieces).toString()));
  return {
    ...asked,
    model: model ?? jobs.modelFor(asked.kind) ?? "",
    jobId: `local-${crypto.randomUUID()}`,
    attempt: 1,
    remainingMs: timeoutMs,
  };
}

function failed(error: unknown): JobOutcome {
  return { status: "failed", error: toJobFailure(error) };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function noop(): void {}
