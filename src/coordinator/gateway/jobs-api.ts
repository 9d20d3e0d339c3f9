import { createHash } from "node:crypto";
import * as z from "zod";
import { JOB_KINDS } from "../../model.ts";
import { JOB_STATES, type JobRecord } from "../jobs/job-record.ts";
import type { Answer, Call } from "./answer.ts";
import { apiError, notFound } from "./api-error.ts";
import { allowedModel } from "./asked-model.ts";
import { openEventStream } from "./event-stream.ts";
import { jobView } from "./job-view.ts";
import { allowedPriority, MAX_TIMEOUT_MS, PRIORITIES } from "./order.ts";
import { readJson } from "./read-body.ts";
import { refusal } from "./refusal.ts";

export const jobRequest = z
  .strictObject({
    id: z.string().min(1).max(256).optional().meta({ description: "Sent again, it finds the job that there is" }),
    kind: z.enum(JOB_KINDS),
    model: z.string().min(1),
    input: z.unknown().meta({ description: "The OpenAI request of that kind, or that of POST /v1/ocr" }),
    stream: z.boolean().optional().meta({ description: "Its events carry the answer in pieces" }),
    retrySafe: z.boolean().optional().meta({ description: "A second try does no harm; default true" }),
    maxAttempts: z.int().min(1).max(1_000).optional().meta({ description: "Default 10" }),
    timeoutMs: z.int().min(1).max(MAX_TIMEOUT_MS).optional().meta({ description: "Default 600000" }),
    priority: z.int().min(PRIORITIES.least).max(PRIORITIES.most).optional().meta({ description: "Higher first" }),
    keepInput: z.boolean().optional().meta({ description: "Keep the input once the job has ended" }),
  })
  .meta({ title: "JobRequest" });

export const jobQuery = z.object({
  state: z.enum(JOB_STATES).optional(),
  limit: z.coerce.number().int().min(1).max(100).default(20),
  after: z.string().optional().meta({ description: "Id of the last job of the page before" }),
});

/** `POST /v1/jobs`: takes a job, or finds the one that has its id, or came with the same Idempotency-Key. */
export async function submitJob(call: Call): Promise<Answer> {
  const { caller, gateway } = call;
  const { id = keyedId(call), priority = 0, ...request } = await readJson(call, jobRequest);
  const model = allowedModel(call, request);
  await gateway.limits.admit(caller);
  const job = await gateway.jobs.submit({
    ...request,
    ...{ model, asked: request.model },
    ...(id === undefined ? {} : { id }),
    client: caller.name,
    priority: allowedPriority(call, priority),
  });
  return taken(job);
}

/** `GET /v1/jobs`: newest first. */
export async function listJobs({ caller, gateway, url }: Call): Promise<Answer> {
  const query = jobQuery.safeParse(Object.fromEntries(url.searchParams));
  if (!query.success) {
    const [issue] = query.error.issues;
    throw refusal("INVALID_INPUT", `${issue?.path.join(".")}: ${issue?.message}`, "Correct the query.");
  }
  const { limit, ...filter } = query.data;
  const jobs = await gateway.jobs.list({
    ...filter,
    ...(caller.isAdmin ? {} : { client: caller.name }),
    limit: limit + 1,
  });
  const data = jobs.slice(0, limit).map(jobView);
  const ends = { first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null };
  return { status: 200, body: { object: "list", data, ...ends, has_more: jobs.length > limit } };
}

/** `GET /v1/jobs/{id}` */
export async function showJob(call: Call): Promise<Answer> {
  const job = await ownJob(call);
  return job ? { status: 200, body: jobView(job) } : noJob(call);
}

/** `POST /v1/jobs/{id}/cancel`: a job that has ended stays as it is. */
export async function cancelJob(call: Call): Promise<Answer> {
  const job = (await ownJob(call)) && (await call.gateway.jobs.cancel(call.params.id!));
  return job ? { status: 202, body: jobView(job) } : noJob(call);
}

/**
 * `POST /v1/jobs/{id}/retry`: a job that did not end well, anew, under an id of its own; asked for twice it is one job. Where
 * its input was not kept nobody has it any more.
 */
export async function retryJob(call: Call): Promise<Answer> {
  const { gateway, caller } = call;
  const job = await ownJob(call);
  if (!job) return noJob(call);
  const { kind, model, input, stream, retrySafe, maxAttempts, client } = job;
  if (job.state !== "failed" && job.state !== "cancelled")
    return { status: 409, body: apiError("job_not_failed", `The job ${job.id} is ${job.state}.`) };
  if (!job.keepInput) {
    const message = `The input of the job ${job.id} was not kept (keepInput): send it again yourself.`;
    return { status: 409, body: apiError("input_not_kept", message) };
  }
  allowedModel(call, job);
  await gateway.limits.admit(caller);
  const again = await gateway.jobs.submit({
    ...{ kind, model, input, stream, retrySafe, maxAttempts, client, keepInput: true },
    id: idFrom([client, "retry", job.id]),
    priority: allowedPriority(call, job.priority),
    timeoutMs: job.deadlineAt - job.createdAt,
  });
  return taken(again);
}

/**
 * `GET /v1/jobs/{id}/events`: states, pieces of the answer and the end, as server-sent events named `state`, `chunk` and
 * `end`. The id of a piece is `ATTEMPT:PLACE`; with it as Last-Event-ID the pieces after it come, as far as they are kept.
 */
export async function followJob(call: Call): Promise<Answer | null> {
  const { gateway, params, request, response } = call;
  const [, attempt, cs] = /^(\d{1,9}):(\d{1,9})$/.exec(String(request.headers["last-event-id"] ?? "")) ?? [];
  const after = cs === undefined ? undefined : { attempt: Number(attempt), cs: Number(cs) };
  const events = (await ownJob(call)) && (await gateway.jobs.follow(params.id!, after));
  if (!events) return noJob(call);
  response.once("close", () => void events.return?.());
  const stream = openEventStream(response, {
    keepAliveMs: gateway.keepAliveMs,
    headers: () => ({}),
    idle: () => "still there",
  });
  for await (const event of events) {
    if (event.type === "state") {
      const { type: name, ...state } = event;
      await stream.send(state, { name });
    } else if (event.type === "chunk") {
      const { attempt, cs, delta } = event;
      await stream.send({ attempt, cs, delta }, { name: "chunk", id: `${attempt}:${cs}` });
    } else await stream.send(jobView(event.job), { name: "end" });
  }
  stream.end();
  return null;
}

function taken(job: JobRecord): Answer {
  return { status: 202, body: jobView(job), headers: { location: `/v1/jobs/${encodeURIComponent(job.id)}` } };
}

/** Null where it is another's, too. */
async function ownJob({ caller, gateway, params }: Call): Promise<JobRecord | null> {
  const job = await gateway.jobs.get(params.id!);
  return job && (caller.isAdmin || job.client === caller.name) ? job : null;
}

function noJob({ params }: Call): Answer {
  return notFound(`There is no job ${params.id}.`);
}

/** Of each client its own: what one sends must not find what another has sent. */
function keyedId({ request, caller }: Call): string | undefined {
  const key = request.headers["idempotency-key"];
  return typeof key === "string" && key !== "" ? idFrom([caller.name, key]) : undefined;
}

function idFrom(parts: (string | null)[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32);
}
