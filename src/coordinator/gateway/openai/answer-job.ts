import { type ErrorCode, MusterError } from "../../../errors.ts";
import type { JobKind } from "../../../model.ts";
import type { JobRecord } from "../../jobs/job-record.ts";
import type { JobEvents } from "../../jobs/jobs.ts";
import type { Answer, Call, Handle } from "../answer.ts";
import { errorAnswer, errorBody, jobErrorOf, toldOf } from "../api-error.ts";
import { servableModel } from "../asked-model.ts";
import { openEventStream } from "../event-stream.ts";
import { orderOf } from "../order.ts";
import { readJson } from "../read-body.ts";
import { type OpenAiRequest, REQUESTS } from "./requests.ts";
import { type StreamedAnswer, StreamedPages, StreamedText } from "./streamed-answer.ts";

/** Does the request as a job, on the connection that it came by; a client that goes has cancelled it. */
export function answerJob(kind: JobKind): Handle {
  return async (call) => {
    const body = await readJson(call, REQUESTS[kind]);
    await call.gateway.limits.admit(call.caller);
    const { model: asked, stream, stream_options: _options, ...input } = body;
    const model = servableModel(call, { kind, model: asked });
    const isStreamed = stream === true && kind !== "embedding";
    const request = { kind, model, input, stream: isStreamed, client: call.caller.name, ...orderOf(call) };
    const { job, events } = await call.gateway.jobs.attend(request);
    call.response.setHeader("x-muster-job-id", job.id);
    const leave = () => void events.return?.();
    if (call.response.destroyed) leave();
    call.response.once("close", leave);
    return isStreamed ? streamed(call, { body, job, events }) : whole(job, events);
  };
}

/** Null where the client has gone. */
async function whole({ kind, id, createdAt }: JobRecord, events: JobEvents): Promise<Answer | null> {
  for await (const event of events) {
    if (event.type !== "end") continue;
    const { job } = event;
    const headers = workerHeader(job.workerId);
    if (job.state !== "done") {
      const { code, message } = jobErrorOf(job);
      const answer = errorAnswer(code, message);
      return { ...answer, headers: { ...answer.headers, ...headers } };
    }
    const output = outputOf(job);
    return { status: 200, body: { ...output, ...identity({ kind, id, createdAt }) }, headers };
  }
  return null;
}

interface Streaming {
  body: OpenAiRequest;
  job: JobRecord;
  events: JobEvents;
}

async function streamed(call: Call, { body, job, events }: Streaming): Promise<Answer | null> {
  const head = { ...identity(job), object: OBJECTS[job.kind] ?? "" };
  let workerId: string | null = null;
  let answer: Answer | null = null;
  let isAt: "queued" | "running" = "queued";
  let isOver = false;
  const stream = openEventStream(call.response, {
    keepAliveMs: call.gateway.keepAliveMs,
    headers: () => workerHeader(workerId),
    idle: () => isAt,
  });
  const sent: StreamedAnswer = job.kind === "ocr" ? new StreamedPages() : new StreamedText(head);
  const fail = async (code: ErrorCode, message: string) => {
    if (stream.begun) await stream.send(errorBody(code, message));
    else answer = errorAnswer(code, message);
  };
  try {
    for await (const event of events) {
      isOver = event.type === "end";
      if (event.type === "state") {
        workerId = event.workerId;
        isAt = event.state === "queued" ? "queued" : "running";
      } else if (event.type === "chunk") {
        const chunk = sent.take(event.attempt, event.delta);
        if (chunk) await stream.send(chunk);
      } else if (event.job.state === "done") {
        const output = outputOf(event.job);
        for (const chunk of sent.rest(output)) await stream.send(chunk);
        const { usage, model } = output as { usage?: object; model?: string };
        if (body.stream_options?.include_usage)
          await stream.send(
            job.kind === "ocr" ? { object: "ocr.usage", usage } : { ...head, model, choices: [], usage },
          );
        await stream.send("[DONE]");
      } else {
        const { code, message } = jobErrorOf(event.job);
        await fail(code, message);
      }
    }
    if (!isOver) await fail("DRAINING", "The coordinator stops.");
  } catch (error) {
    const { code, message } = toldOf(error);
    await fail(code, message);
  }
  stream.stop();
  if (!answer) stream.end();
  return answer;
}

/** The answer of the worker. Throws where it is none of any engine: nothing of it is the client's. */
function outputOf({ id, outcome, workerId }: JobRecord): object {
  const output = outcome?.output;
  if (typeof output === "object" && output !== null && !Array.isArray(output)) return output;
  throw new MusterError(
    "RESPONSE_INVALID",
    `The worker has answered the job ${id} with something else than an answer.`,
    {
      hint: `Look at the log of the worker ${workerId ?? ""}.`,
    },
  );
}

const OBJECTS: Partial<Record<JobKind, string>> = { chat: "chat.completion.chunk", completion: "text_completion" };
const ID_PREFIXES: Partial<Record<JobKind, string>> = { chat: "chatcmpl", completion: "cmpl" };

/** One id for all chunks, whichever attempt they are of, and by which the job is found. */
function identity({ kind, id, createdAt }: Pick<JobRecord, "kind" | "id" | "createdAt">) {
  const prefix = ID_PREFIXES[kind];
  return prefix ? { id: `${prefix}-${id}`, created: Math.floor(createdAt / 1000) } : {};
}

function workerHeader(workerId: string | null): Record<string, string> {
  // Ids of workers are their own to choose; what is no header is not told.
  return workerId !== null && /^[\x21-\x7e]+$/.test(workerId) ? { "x-muster-worker-id": workerId } : {};
}
