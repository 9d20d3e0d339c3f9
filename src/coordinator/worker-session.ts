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

/** Speaks muster.v1 with one worker over an open socket, until that closes. */
export function serveWorker(socket: WebSocket, context: { registry: WorkerRegistry; terms: Terms; log: Logger }): void {
  const { registry, terms, log } = context;
  let member: Membership | null = null;
  const peer = peerOf(socket);
  const refuse = (reason: string) => {
    log.info({ reason }, "Closing a worker's connection");
    socket.close(CLOSE.protocol, reason);
  };
  const timer = setTimeout(() => socket.close(CLOSE.helloTimeout, "no hello in time"), terms.helloTimeoutMs);
  const admit = (hello: Hello) => {
    clearTimeout(timer);
    member = registry.join(hello, peer);
    if (member) peer.send(welcome(hello, member.epoch, terms));
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
    take(frame, member, peer);
  });
  // ws closes the socket itself, with the code that fits; without a listener the process would end.
  socket.on("error", (error) => log.info({ reason: error.message }, "A worker's connection broke"));
  socket.once("close", () => {
    clearTimeout(timer);
    member?.leave();
  });
}

function take(frame: Exclude<WorkerFrame, Hello>, member: Membership, peer: Peer): void {
  // This coordinator hands out no jobs yet: a lease that a worker claims is none of ours, and the rest says nothing.
  if (frame.t === "beat") {
    member.beat(frame);
    peer.send({ t: "beat.ack", n: frame.n, renewed: [], lost: frame.jobs.map(({ jobId }) => jobId) });
  } else if (frame.t === "model.state") member.model(frame);
  else if (frame.t === "drain") member.drain();
  else if (frame.t === "bye") member.bye();
}

function welcome(hello: Hello, epoch: number, terms: Terms): CoordinatorPayload {
  const { beatMs, leaseMs, graceMs, maxFrame } = terms;
  return {
    t: "welcome",
    sessionId: crypto.randomUUID(),
    ...{ epoch, beatMs, leaseMs, graceMs, maxFrame },
    features: [],
    resume: hello.jobs.map(({ jobId }) => ({ jobId, verdict: "abandon" as const })),
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
