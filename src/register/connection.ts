import type { Socket } from "node:net";
import { WebSocket } from "ws";
import type { Logger } from "../log.ts";
import {
  CLOSE,
  type CoordinatorFrame,
  coordinatorFrame,
  decodeFrame,
  encodeFrame,
  PROTOCOL_DEFAULTS,
  type WorkerPayload,
} from "../protocol.ts";
import { FRAME_CEILING, type HandshakeOptions, startHandshake } from "./handshake.ts";

export interface ConnectOptions extends HandshakeOptions {
  log: Logger;
}

export interface CloseInfo {
  code: number;
  reason: string;
  /** Who ended it: `worker` when this side closed or gave up. */
  by: "worker" | "coordinator";
}

/** `closed`: the socket is not open. `too large`: the frame is over the limit. */
export type Sent = "sent" | "closed" | "too large";

export interface Connection {
  /** Settles once the socket is gone; never rejects. */
  readonly closed: Promise<CloseInfo>;
  /** Frames flow from here on; nothing is read before. */
  listen(onFrame: (frame: CoordinatorFrame) => void): void;
  /** A text is the JSON of a payload. */
  send(payload: WorkerPayload | string): Sent;
  /**
   * Null while the peer keeps up. Else a promise that settles once most of what waits in the socket was written, or the
   * socket is gone; until then senders of what can wait are to wait. Never rejects.
   */
  congestion(): Promise<void> | null;
  readonly maxFrame: number;
  /** The `maxFrame` of the welcome; binds both sides. */
  limitFrames(bytes: number): void;
  close(code: number, reason: string): void;
  /** Ends a socket whose peer does not answer any more. */
  terminate(reason: string): void;
}

/** With more than this waiting in the socket senders are to wait … */
const CONGESTED_BYTES = 1024 * 1024;
/** … until it has drained to this. */
const DRAINED_BYTES = CONGESTED_BYTES / 2;

/** One WebSocket to the coordinator, open and quiet until `listen`. Throws COORDINATOR_UNREACHABLE or _REFUSED. */
export async function connect(options: ConnectOptions): Promise<Connection> {
  const { socket, opened } = await startHandshake(options);
  const connection = wrap(socket, options);
  await opened();
  return connection;
}

function wrap(socket: WebSocket, { signal, log }: ConnectOptions): Connection {
  const closed = Promise.withResolvers<CloseInfo>();
  let ours: Omit<CloseInfo, "by"> | null = null;
  let maxFrame: number = PROTOCOL_DEFAULTS.maxFrame;
  let congestion: PromiseWithResolvers<void> | null = null;

  const relieve = () => {
    congestion?.resolve();
    congestion = null;
  };
  const onWritten = () => {
    if (socket.bufferedAmount <= DRAINED_BYTES) relieve();
  };
  const close = (code: number, reason: string) => {
    if (socket.readyState !== WebSocket.OPEN) return;
    ours = { code, reason };
    socket.close(code, reason);
  };
  const terminate = (reason: string) => {
    ours ??= { code: 1006, reason };
    socket.terminate();
  };
  const stop = () => {
    // A close under way may end: that is how a goodbye gets through while everything else stops.
    if (socket.readyState !== WebSocket.CLOSING) terminate("stopped");
  };
  signal.addEventListener("abort", stop, { once: true });
  const gather = gatherWrites(socket);
  socket.on("error", (error) => {
    // Broken WebSocket framing; ws closes the socket itself, with the code that fits.
    ours ??= { code: 1006, reason: error.message };
  });
  socket.once("close", (code, reason) => {
    signal.removeEventListener("abort", stop);
    relieve();
    closed.resolve(ours ? { ...ours, by: "worker" } : { code, reason: reason.toString(), by: "coordinator" });
  });

  const decode = (data: Buffer, isBinary: boolean): CoordinatorFrame | null => {
    if (socket.readyState !== WebSocket.OPEN) return null;
    if (isBinary) close(CLOSE.protocol, "binary message; every message is JSON text");
    else if (data.length > maxFrame) close(CLOSE.tooBig, `a message of ${data.length} bytes; maxFrame is ${maxFrame}`);
    else {
      const decoded = decodeFrame(coordinatorFrame, data.toString());
      if (decoded.ok) return decoded.frame;
      if (decoded.unknown) log.debug(`Ignored a frame: ${decoded.reason}`);
      else close(CLOSE.protocol, decoded.reason);
    }
    return null;
  };
  return {
    closed: closed.promise,
    listen(onFrame) {
      socket.on("message", (data: Buffer, isBinary) => {
        const frame = decode(data, isBinary);
        if (frame) onFrame(frame);
      });
      socket.resume();
    },
    send(payload) {
      if (socket.readyState !== WebSocket.OPEN) return "closed";
      const text = encodeFrame(payload);
      if (Buffer.byteLength(text) > maxFrame) {
        const type = /^{"t":"([\w.]+)"/.exec(text)?.[1];
        log.warn(`Did not send a ${type} frame: it is over the coordinator's limit of ${maxFrame} bytes`);
        return "too large";
      }
      gather(() => socket.send(text, onWritten));
      return "sent";
    },
    congestion() {
      if (socket.readyState !== WebSocket.OPEN) return null;
      if (socket.bufferedAmount > CONGESTED_BYTES) congestion ??= Promise.withResolvers();
      return congestion?.promise ?? null;
    },
    get maxFrame() {
      return maxFrame;
    },
    limitFrames(bytes) {
      maxFrame = Math.min(bytes, FRAME_CEILING);
    },
    close,
    terminate,
  };
}

/** More than this need not wait for others. */
const GATHERED_BYTES = 64 * 1024;

/**
 * Has what is sent in one turn of the event loop leave in one system call: jobs that run side by side send many small
 * frames.
 */
function gatherWrites(socket: WebSocket): (send: () => void) => void {
  let stream: Socket | null = null;
  let isCorked = false;
  socket.once("upgrade", (response) => {
    stream = response.socket;
  });
  const uncork = () => {
    if (isCorked) stream?.uncork();
    isCorked = false;
  };
  return (send) => {
    if (stream && !isCorked) {
      isCorked = true;
      stream.cork();
      setImmediate(uncork);
    }
    send();
    if (stream && stream.writableLength > GATHERED_BYTES) uncork();
  };
}
