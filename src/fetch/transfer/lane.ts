import { parentPort, workerData } from "node:worker_threads";
import { toMusterError } from "../../errors.ts";
import { registerSecret } from "../../redact.ts";
import { createDispatcher } from "../dispatcher.ts";
import { copyFileChecked } from "./copy-file.ts";
import { digestMatches } from "./digest.ts";
import { type FetchContext, fetchFile } from "./fetch-file.ts";
import type { FromLane, LaneOptions, ToLane, TransferJob } from "./job.ts";
import { Semaphore } from "./semaphore.ts";

/** A transfer thread: sockets, writes and digests of whole files, so that the main thread stays idle. */

const PROGRESS_MS = 200;
const options = workerData as LaneOptions;
const port = parentPort;
if (!port) throw new Error("lane.ts is started as a worker thread");

const dispatcher = createDispatcher(options);
const connections = new Semaphore(options.connections);
/** Open files: enough to keep the connections busy, and few, whatever a repository holds. */
const files = new Semaphore(options.connections * 4);
const running = new Map<number, AbortController>();
const send = (message: FromLane) => port.postMessage(message);

port.on("message", (message: ToLane) => {
  if (message.type === "cancel") running.get(message.id)?.abort();
  else void run(message.id, message.job);
});

async function run(id: number, job: TransferJob): Promise<void> {
  const controller = new AbortController();
  running.set(id, controller);
  let pending = 0;
  const flush = () => {
    if (pending !== 0) send({ type: "progress", id, bytes: pending });
    pending = 0;
  };
  const timer = setInterval(flush, PROGRESS_MS);
  try {
    const context: FetchContext = {
      options,
      dispatcher,
      connections,
      signal: controller.signal,
      onBytes: (count) => {
        pending += count;
      },
      onNote: (message, level = "warn") => send({ type: "note", id, message, level }),
    };
    const matches = await files.run(() => perform(job, context));
    flush();
    send({ type: "done", id, matches });
  } catch (error) {
    flush();
    send({ type: "failed", id, error: toMusterError(error).toJSON() });
  } finally {
    clearInterval(timer);
    running.delete(id);
  }
}

async function perform(job: TransferJob, context: FetchContext): Promise<boolean> {
  context.signal.throwIfAborted();
  if (job.kind === "digest") return digestMatches(job, context.signal);
  if (job.kind === "copy") {
    await copyFileChecked(job, context.onBytes, context.signal);
    return true;
  }
  // This thread makes errors of its own; they must not show the token either.
  if (job.authorization) registerSecret(job.authorization.replace(/^\w+ /, ""));
  await fetchFile(job, context);
  return true;
}
