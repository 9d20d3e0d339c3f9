import { createHash } from "node:crypto";
import { type JobOutcome, type JobRef, jobError, toJobFailure } from "../job.ts";
import { decodeFrame, type WorkerPayload, workerFrame } from "../protocol.ts";

type Payload = Extract<WorkerPayload, { t: "job.result" }>;

/** A result on its way: made into text once, for the journal and for every sending. */
export interface JobResult extends JobRef {
  status: Payload["status"];
  /** The payload of its `job.result` frame, as JSON without line breaks. */
  text: string;
}

export function encodeResult(ref: JobRef, outcome: JobOutcome): JobResult {
  try {
    return encode(ref, outcome);
  } catch (cause) {
    // A circle, or nested deeper than the stack: what it is must not be told.
    const hint = "Report it with the model and the engine that made it.";
    return failed(ref, toJobFailure(jobError("INTERNAL", "The answer cannot be put into JSON.", hint, cause)));
  }
}

/** The same result for a later attempt at its job. */
export function underAttempt(result: JobResult, attempt: number): JobResult {
  const payload = JSON.parse(result.text) as Payload;
  return { ...result, attempt, text: JSON.stringify({ ...payload, attempt }) };
}

/** What goes out in place of a result that no frame of this session may hold. */
export function tooLarge(ref: JobRef, maxFrame: number): JobResult {
  const message = `The result is larger than the ${maxFrame} bytes that a frame may have.`;
  const hint = "Ask for less, or raise maxFrame at the coordinator.";
  return failed(ref, toJobFailure(jobError("PAYLOAD_TOO_LARGE", message, hint)));
}

/** The result that a line of the journal holds; null where it holds none. */
export function decodeResult(line: string): JobResult | null {
  const decoded = decodeFrame(workerFrame, line);
  if (!decoded.ok || decoded.frame.t !== "job.result") return null;
  const { jobId, attempt, status } = decoded.frame;
  return { jobId, attempt, status, text: line };
}

function failed(ref: JobRef, error: Payload["error"]): JobResult {
  return encode(ref, { status: "failed", error });
}

function encode({ jobId, attempt }: JobRef, { status, output, error, usage, timings }: JobOutcome): JobResult {
  // Made into text once: it may be large, and the digest is of this very text.
  const outputText = JSON.stringify(output) as string | undefined;
  const head = JSON.stringify({
    ...{ t: "job.result", jobId, attempt, status, error, usage: finite(usage), timings: finite(timings) },
    sha256: outputText === undefined ? undefined : createHash("sha256").update(outputText).digest("hex"),
  } satisfies Payload);
  const text = outputText === undefined ? head : `${head.slice(0, -1)},"output":${outputText}}`;
  return { jobId, attempt, status, text };
}

/** JSON has no other numbers, and a result that the coordinator cannot read would come again for ever. */
function finite(numbers: Record<string, number> | undefined): Record<string, number> | undefined {
  return numbers && Object.fromEntries(Object.entries(numbers).filter(([, value]) => Number.isFinite(value)));
}
