import type { IncomingMessage } from "node:http";
import * as z from "zod";
import { JOB_KINDS } from "../model.ts";
import { type Answer, notFound } from "./api-answer.ts";
import { apiError } from "./api-error.ts";
import { jobView } from "./job-view.ts";
import type { Dispatcher } from "./jobs/dispatcher.ts";

const DAY_MS = 86_400_000;

const jobRequest = z.strictObject({
  id: z.string().min(1).max(256).optional(),
  kind: z.enum(JOB_KINDS),
  model: z.string().min(1),
  input: z.unknown(),
  stream: z.boolean().optional(),
  retrySafe: z.boolean().optional(),
  maxAttempts: z.int().min(1).max(1_000).optional(),
  timeoutMs: z.int().min(1).max(DAY_MS).optional(),
});

interface JobsContext {
  dispatcher: Dispatcher;
  /** Bytes that a request may have: what fits into a message to a worker. */
  maxBody: number;
}

/** `POST /v1/jobs`: takes a job, or finds the one that has its id (in the body, or as Idempotency-Key). */
export async function submitJob(request: IncomingMessage, { dispatcher, maxBody }: JobsContext): Promise<Answer> {
  const text = await readBody(request, maxBody);
  if (text === null) {
    return { status: 413, body: apiError("payload_too_large", `A request may have ${maxBody} bytes.`) };
  }
  const parsed = jobRequest.safeParse(jsonOf(text));
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const where = issue?.path.join(".");
    return { status: 400, body: apiError("invalid_request", `${where ? `${where}: ` : ""}${issue?.message}`) };
  }
  const key = request.headers["idempotency-key"];
  const job = dispatcher.submit({ ...(typeof key === "string" && key && { id: key }), ...parsed.data });
  return { status: 202, body: jobView(job), headers: { location: `/v1/jobs/${encodeURIComponent(job.id)}` } };
}

/** `GET /v1/jobs/:id` */
export function showJob(id: string, { dispatcher }: JobsContext): Answer {
  const job = dispatcher.get(id);
  return job ? { status: 200, body: jobView(job) } : noJob(id);
}

/** `POST /v1/jobs/:id/cancel`: a job that has ended stays as it is. */
export function cancelJob(id: string, { dispatcher }: JobsContext): Answer {
  const job = dispatcher.cancel(id);
  return job ? { status: 202, body: jobView(job) } : noJob(id);
}

function noJob(id: string): Answer {
  return notFound(`There is no job ${id}.`);
}

/** Null where it is longer than allowed. */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<string | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= maxBytes) chunks.push(chunk);
    // Read to its end and thrown away, so that the sender gets to see the answer.
    else chunks.length = 0;
  }
  return bytes > maxBytes ? null : Buffer.concat(chunks).toString();
}

export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
