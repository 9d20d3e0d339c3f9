import { WebSocket } from "ws";
import type { Logger } from "../log.ts";
import {
  CLOSE,
  type CoordinatorPayload,
  decodeFrame,
  encodeFrame,
  type WorkerFrame,
  workerFrame,
} from "../protocol.ts";
import type { Dispatcher } from "./jobs/dispatcher.ts";
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
  dispatcher: Dispatcher;
  terms: Terms;
  log: Logger;
}

/** Speaks muster.v1 with one worker over an open socket, until that closes. */
export function serveWorker(socket: WebSocket, context: SessionContext): void {
  const { registry, dispatcher, terms, log } = context;
  let member: Membership | null = null;
  let workerId = "";
  const peer = peerOf(socket);
  const refuse = (reason: string) => {
    log.info({ reason }, "Closing a worker's connection");
    socket.close(CLOSE.protocol, reason);
  };
  const timer = setTimeout(() => socket.close(CLOSE.helloTimeout, "no hello in time"), terms.helloTimeoutMs);
  const admit = (hello: Hello) => {
    clearTimeout(timer);
    workerId = hello.workerId;
    member = registry.join(hello, peer);
    if (member) peer.send(welcome(dispatcher.joined(hello), member.epoch, terms));
    else peer.supersede();
  };

  socket.on("message", (data: Buffer, isBinary) => {
    // Messages still arrive after a close was sent; they are nobody's business any more.
    if (socket.readyState !== WebSocket.OPEN) return;
    if (isBinary) return refuse("binary message; every message is JSON text");
    const decoded = decodeFrame(workerFrame, data.toString());
    if (!decoded.ok && decoded.unknown) return log.debug(`Ignored a frame: ${decoded.reason}`);
    if (!decoded.ok) return refuse(decoded.reason);
    const { frame } = decoded;
    if (frame.t === "hello" && !member) return admit(frame);
    if (frame.t === "hello") return refuse("hello: twice in one session");
    if (!member) return refuse(`${frame.t}: before hello`);
    if (member.isCurrent()) take(frame, { workerId, member, peer, dispatcher });
  });
  // ws closes the socket itself, with the code that fits; without a listener the process would end.
  socket.on("error", (error) => log.info({ reason: error.message }, "A worker's connection broke"));
  socket.once("close", () => {
    clearTimeout(timer);
    if (member?.isCurrent()) dispatcher.disconnected(workerId);
    member?.leave();
  });
}

interface Speaker {
  workerId: string;
  member: Membership;
  peer: Peer;
  dispatcher: Dispatcher;
}

function take(frame: Exclude<WorkerFrame, Hello>, { workerId, member, peer, dispatcher }: Speaker): void {
  if (frame.t === "beat") {
    member.beat(frame);
    peer.send({ t: "beat.ack", n: frame.n, ...dispatcher.renew(workerId, frame.jobs) });
    dispatcher.changed();
  } else if (frame.t === "model.state") {
    member.model(frame);
    dispatcher.changed();
  } else if (frame.t === "credit") dispatcher.credit(workerId, frame.kind, frame.n);
  // The worker's own lease begins as it accepts: ours must not end before.
  else if (frame.t === "job.accept") dispatcher.renew(workerId, [frame]);
  else if (frame.t === "job.reject") dispatcher.rejected(workerId, frame, frame.code);
  else if (frame.t === "job.chunk") {
    const { jobId, attempt } = frame;
    const cs = dispatcher.chunk(workerId, frame);
    if (cs) peer.send({ t: "chunk.ack", jobId, attempt, cs: cs - 1 });
  } else if (frame.t === "job.result") {
    const { jobId, attempt } = frame;
    dispatcher.result(workerId, frame);
    // Also of what is nobody's any more: the worker need not keep it.
    peer.send({ t: "result.ack", jobId, attempt });
  } else if (frame.t === "drain") member.drain();
  else if (frame.t === "bye") {
    member.bye();
    dispatcher.leaves(workerId);
  }
}

function welcome(resume: ReturnType<Dispatcher["joined"]>, epoch: number, terms: Terms): CoordinatorPayload {
  const { beatMs, leaseMs, graceMs, maxFrame } = terms;
  return {
    t: "welcome",
    sessionId: crypto.randomUUID(),
    ...{ epoch, beatMs, leaseMs, graceMs, maxFrame },
    features: [],
    resume,
  };
}

function peerOf(socket: WebSocket): Peer {
  return {
    send(payload) {
      if (socket.readyState !== WebSocket.OPEN) return false;
      socket.send(encodeFrame(payload));
      return true;
    },
    supersede: () => socket.close(CLOSE.superseded, "a newer process runs under this worker id"),
    drop: (reason) => socket.close(CLOSE.goingAway, reason),
  };
}
