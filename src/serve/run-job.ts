import { type Job, type JobCalls, type JobOutcome, jobError, outcomeOfAbort, toJobFailure } from "../job.ts";
import type { Engine, EngineAnswer, EngineCall, EngineModel } from "./engines/engine.ts";
import { hasImages, readChat } from "./kinds/chat.ts";
import { checkSize } from "./kinds/check.ts";
import { readCompletion } from "./kinds/completion.ts";
import { readEmbedding } from "./kinds/embedding.ts";
import { readOcr } from "./kinds/ocr.ts";
import type { JobLimits } from "./limits.ts";
import { readPages } from "./ocr.ts";

export interface EngineOfModel {
  engine: Engine;
  model: EngineModel;
}

export interface RunOptions extends EngineOfModel, JobCalls {
  limits: JobLimits;
}

/** A timer cannot be set for longer. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Checks the job's input, asks the engine and gives what came of it; never rejects. Settles only when the engine's work
 * has ended, after an abort too. A job that is not done when its time is over is TIMEOUT.
 */
export async function runJob(job: Job, { limits, onChunk, signal: given, ...target }: RunOptions): Promise<JobOutcome> {
  const startedAt = performance.now();
  const elapsed = () => Math.round(performance.now() - startedAt);
  const timings: Record<string, number> = {};
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(timeout(job)), Math.min(job.remainingMs, MAX_TIMER_MS));
  const signal = AbortSignal.any([given, late.signal]);
  const call: EngineCall = {
    signal,
    maxOutputBytes: limits.outputBytes,
    onChunk: job.stream
      ? (delta) => {
          timings.first_token_ms ??= elapsed();
          return onChunk(delta);
        }
      : null,
  };
  try {
    signal.throwIfAborted();
    checkSize(job.input, limits.inputBytes);
    const ask = prepare(job, { ...target, limits });
    timings.queue_ms = elapsed();
    const { output, usage } = await ask(call);
    return { status: "done", output, usage, timings };
  } catch (error) {
    return {
      ...(signal.aborted ? outcomeOfAbort(signal.reason) : { status: "failed", error: toJobFailure(error) }),
      timings,
    };
  } finally {
    clearTimeout(timer);
    timings.total_ms = elapsed();
  }
}

/** Reads the input, so that nothing of it is wrong once the engine is asked. */
function prepare(
  { kind, input }: Job,
  { engine, model, limits }: EngineOfModel & { limits: JobLimits },
): (call: EngineCall) => Promise<EngineAnswer> {
  switch (kind) {
    case "chat": {
      const body = readChat(input, limits.imageBytes);
      if (model.task === "chat" && hasImages(body)) throw blind(model);
      return (call) => engine.run(kind, model, body, call);
    }
    case "completion": {
      const body = readCompletion(input);
      return (call) => engine.run(kind, model, body, call);
    }
    case "embedding": {
      const body = readEmbedding(input);
      return (call) => engine.run(kind, model, body, call);
    }
    case "ocr": {
      const wanted = readOcr(input, limits);
      return (call) => readPages(wanted, { engine, model, call });
    }
  }
}

function timeout({ remainingMs }: Job) {
  return jobError(
    "TIMEOUT",
    `The job was not done within the ${remainingMs} ms that were left for it.`,
    "Give it more time, or ask for less.",
  );
}

function blind({ id }: EngineModel) {
  return jobError("UNSUPPORTED", `The model ${id} sees no images.`, "Send it to a vision model.");
}
