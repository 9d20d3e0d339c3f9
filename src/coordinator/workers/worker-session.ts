import { WebSocket } from "ws";
import { MusterError, toMusterError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import {
  CLOSE,
  type CoordinatorPayload,
  decodeFrame,
  encodeFrame,
  type WorkerFrame,
  workerFrame,
} from "../../protocol.ts";
import type { Resume, WorkerJobs } from "../jobs/jobs.ts";
import type { Membership, Peer, WorkerRegistry } from "./worker-registry.ts";

/** What a welcome tells of time and size. */
export interface Terms {
  beatMs: number;
  leaseMs: number;
  graceMs: number;
  maxFrame: number;
  helloTimeoutMs: number;
}

type Hello = Extract<WorkerFrame, { t: "hello" }>;

interface SessionContext {
  registry: WorkerRegistry;
  jobs: WorkerJobs;
  terms: Terms;
  log: Logger;
}

/** Speaks muster.v1 with one worker over an open socket, until that closes. */
export function serveWorker(socket: WebSocket, context: SessionContext): void {
  const { registry, jobs, terms, log } = context;
  let member: Membership | null = null;
  /** Messages that come while the welcome is prepared. */
  let waiting: [data: Buffer, isBinary: boolean][] | null = null;
  let workerId = "";
  const peer = peerOf(socket, terms);
  const refuse = (reason: string) => {
    log.info({ reason }, "Closing a worker's connection");
    socket.close(CLOSE.protocol, reason);
  };
  const timer = setTimeout(() => socket.close(CLOSE.helloTimeout, "no hello in time"), terms.helloTimeoutMs);
  const welcomeTo = async (hello: Hello, { epoch, isCurrent }: Membership) => {
    const resume = await jobs.joined(hello, () => isCurrent() && socket.readyState === WebSocket.OPEN);
    if (!isCurrent()) return;
    peer.send(welcome(resume, epoch, terms));
    jobs.updated(workerId);
    const messages = waiting ?? [];
    waiting = null;
    for (const message of messages) onMessage(...message);
  };
  const admit = (hello: Hello) => {
    clearTimeout(timer);
    workerId = hello.workerId;
    member = registry.join(hello, peer);
    if (!member) return peer.supersede();
    waiting = [];
    welcomeTo(hello, member).catch((error: unknown) => {
      if (toMusterError(error).code === "SUPERSEDED") {
        // Nobody is to wait for it.
        member?.bye();
        return peer.supersede();
      }
      if (toMusterError(error).code === "STORE_UNAVAILABLE") {
        log.warn({ workerId }, "A worker could not be welcomed: what keeps the jobs is away");
        // Not 1013: it comes back within seconds, and only later if this lasts.
        return socket.close(CLOSE.serviceRestart, "the jobs are out of reach");
      }
      log.error({ err: error, workerId }, "A worker could not be welcomed");
      socket.close(CLOSE.tryAgainLater, "the jobs are out of reach");
    });
  };
  const onMessage = (data: Buffer, isBinary: boolean) => {
    // Messages still arrive after a close was sent; they are nobody's business any more.
    if (socket.readyState !== WebSocket.OPEN) return;
    if (waiting) return void waiting.push([data, isBinary]);
    if (isBinary) return refuse("binary message; every message is JSON text");
    const decoded = decodeFrame(workerFrame, data.toString());
    if (!decoded.ok && decoded.unknown) return log.debug(`Ignored a frame: ${decoded.reason}`);
    if (!decoded.ok) return refuse(decoded.reason);
    const { frame } = decoded;
    if (frame.t === "hello" && !member) return admit(frame);
    if (frame.t === "hello") return refuse("hello: twice in one session");
    if (!member) return refuse(`${frame.t}: before hello`);
    if (member.isCurrent()) take(frame, { ...context, workerId, member, peer, bytes: data.length });
  };

  socket.on("message", onMessage);
  // ws closes the socket itself, with the code that fits; without a listener the process would end.
  socket.on("error", (error) => log.info({ reason: error.message }, "A worker's connection broke"));
  socket.once("close", () => {
    clearTimeout(timer);
    if (member?.isCurrent()) jobs.disconnected(workerId);
    member?.leave();
    if (workerId) jobs.updated(workerId);
  });
}

interface Speaker extends SessionContext {
  workerId: string;
  member: Membership;
  peer: Peer;
  /** Of the message. */
  bytes: number;
}

function take(frame: Exclude<WorkerFrame, Hello>, { workerId, member, peer, jobs, bytes, log }: Speaker): void {
  if (frame.t === "beat") {
    member.beat(frame);
    const leases = jobs.renew(workerId, frame.jobs);
    if (leases) peer.send({ t: "beat.ack", n: frame.n, ...leases });
    jobs.updated(workerId);
  } else if (frame.t === "model.state") {
    member.model(frame);
    jobs.updated(workerId);
  } else if (frame.t === "credit") jobs.credit(workerId, frame.kind, frame.n);
  // The worker's own lease begins as it accepts: ours must not end before.
  else if (frame.t === "job.accept") jobs.accepted(workerId, frame);
  else if (frame.t === "job.reject") jobs.rejected(workerId, frame, frame.code);
  else if (frame.t === "job.chunk") {
    const { jobId, attempt } = frame;
    const cs = jobs.chunk(workerId, frame, bytes);
    if (cs) peer.send({ t: "chunk.ack", jobId, attempt, cs: cs - 1 });
  } else if (frame.t === "job.result") {
    const { jobId, attempt } = frame;
    // Also of what is nobody's any more: the worker need not keep it. What the store did not take is sent again.
    jobs.result(workerId, frame).then(
      () => peer.send({ t: "result.ack", jobId, attempt }),
      (error: unknown) => log.error({ err: error, jobId, workerId }, "A result could not be kept"),
    );
  } else if (frame.t === "drain") {
    member.drain();
    jobs.updated(workerId);
  } else if (frame.t === "bye") {
    member.bye();
    jobs.leaves(workerId);
  }
}

function welcome(resume: Resume[], epoch: number, terms: Terms): CoordinatorPayload {
  const { beatMs, leaseMs, graceMs, maxFrame } = terms;
  return {
    t: "welcome",
    sessionId: crypto.randomUUID(),
    ...{ epoch, beatMs, leaseMs, graceMs, maxFrame },
    features: [],
    resume,
  };
}

/** Bytes of UTF-8 that a unit of a string becomes at the most. */
const LARGEST_CHARACTER = 3;

function tooLarge(maxFrame: number): MusterError {
  return new MusterError("PAYLOAD_TOO_LARGE", `No worker can be sent this: a frame may have ${maxFrame} bytes.`, {
    hint: "Send less at once, in several requests.",
  });
}

function peerOf(socket: WebSocket, { maxFrame }: Terms): Peer {
  return {
    send(payload) {
      if (socket.readyState !== WebSocket.OPEN) return false;
      const text = encodeFrame(payload);
      // Numbers may take more room than they came with. A worker would end the session, and be offered it again.
      if (text.length > maxFrame / LARGEST_CHARACTER && Buffer.byteLength(text) > maxFrame) throw tooLarge(maxFrame);
      socket.send(text);
      return true;
    },
    supersede: () => socket.close(CLOSE.superseded, "a newer process runs under this worker id"),
    drop: (reason) => socket.close(CLOSE.goingAway, reason),
  };
}
