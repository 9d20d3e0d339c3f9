import { setTimeout as sleep } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { type ErrorCode, toMusterError } from "../../errors.ts";
import { registerSecret } from "../../redact.ts";
import { ConnectionPool } from "./connection-pool.ts";
import { copyFileChecked } from "./copy-file.ts";
import { digestOfFile } from "./digest.ts";
import { localDigester, RemoteDigests, serveDigests } from "./digesters.ts";
import type { FromLane, LaneData, NoteLevel, ToLane } from "./job.ts";
import { delayFor } from "./limits.ts";
import { Scheduler } from "./scheduler.ts";
import { SlotPool } from "./slots.ts";

/** A transfer thread: sockets, writes and digests, so that the main thread stays idle. */

const PROGRESS_MS = 200;
const { options, limits, peers } = workerData as LaneData;
const port = parentPort;
if (!port) throw new Error("lane.ts is started as a worker thread");

const slots = new SlotPool(options.connections * 2 + 16);
const pool = new ConnectionPool({ slots, ...options });
const scheduler = new Scheduler(limits, options.connections);
/** By lane: this one's own place is empty. */
const digests = peers.map((peer) => {
  if (!peer) return null;
  serveDigests(peer.incoming);
  return new RemoteDigests(peer.outgoing, slots.memory);
});
const running = new Map<number, AbortController>();
const send = (message: FromLane) => port.postMessage(message);

port.on("message", (message: ToLane) => {
  if (message.type === "cancel") running.get(message.id)?.abort();
  else void run(message);
});

async function run(start: Extract<ToLane, { type: "start" }>): Promise<void> {
  const { id } = start;
  const controller = new AbortController();
  running.set(id, controller);
  let pending = 0;
  let timer: NodeJS.Timeout | null = null;
  const takeBytes = () => {
    if (timer) clearTimeout(timer);
    timer = null;
    const bytes = pending;
    pending = 0;
    return bytes;
  };
  const onBytes = (count: number) => {
    if (count < 0) {
      // What came and what was thrown away are told apart.
      send({ type: "progress", id, bytes: takeBytes() });
      send({ type: "progress", id, bytes: count });
      return;
    }
    pending += count;
    timer ??= setTimeout(() => send({ type: "progress", id, bytes: takeBytes() }), PROGRESS_MS);
  };
  const onNote = (message: string, level: NoteLevel = "warn") => send({ type: "note", id, message, level });
  const onRetry = (code: ErrorCode) => send({ type: "retry", id, code });
  try {
    const digest = await perform(start, { signal: controller.signal, onBytes, onNote, onRetry });
    // Of a small file this is the only message: one more for each of thousands would be felt.
    send({ type: "done", id, digest, bytes: takeBytes() });
  } catch (error) {
    send({ type: "failed", id, error: toMusterError(error).toJSON(), bytes: takeBytes() });
  } finally {
    running.delete(id);
  }
}

interface Observer {
  signal: AbortSignal;
  onBytes: (count: number) => void;
  onNote: (message: string, level?: NoteLevel) => void;
  onRetry: (code: ErrorCode) => void;
}

async function perform(
  { job, digestLane }: Extract<ToLane, { type: "start" }>,
  observer: Observer,
): Promise<string | null> {
  observer.signal.throwIfAborted();
  if (job.kind === "digest") {
    if (!job.paced) return digestOfFile(job, observer.signal);
    return digestOfFile(job, observer.signal, (count) => {
      observer.onBytes(count);
      return sleep(delayFor(count, limits), undefined, { signal: observer.signal });
    });
  }
  if (job.kind === "copy") {
    await copyFileChecked(job, observer.onBytes, observer.signal);
    return job.digest.hex;
  }
  // This thread makes errors of its own; they must not show the token either.
  if (job.authorization) registerSecret(job.authorization.replace(/^\w+ /, ""));
  const elsewhere = digests[digestLane] ?? null;
  const openDigest = options.verify
    ? (start: Parameters<typeof localDigester>[0]) => elsewhere?.open(start) ?? localDigester(start)
    : null;
  await scheduler.fetch(job, { pool, limits, openDigest, ...observer });
  return job.digest.hex;
}
