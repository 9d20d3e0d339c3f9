import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { type CoordinatorPayload, encodeFrame, SUBPROTOCOL, type WorkerFrame } from "../../src/protocol.ts";

/** One connection, as the coordinator sees it. */
export interface FakeSession {
  socket: WebSocket;
  authorization: string | undefined;
  /** Everything the worker has sent, in order. */
  frames: WorkerFrame[];
  send(payload: CoordinatorPayload): void;
  closed: Promise<{ code: number; reason: string }>;
}

export interface FakeCoordinator extends AsyncDisposable {
  url: string;
  sessions: FakeSession[];
}

export const WELCOME = { t: "welcome", sessionId: "session-1", epoch: 1, beatMs: 50 } as const;

/** A coordinator that does exactly what the script says to each frame, over a real server; used for those that misbehave. */
export async function startFakeCoordinator(
  script: (session: FakeSession, frame: WorkerFrame, position: number) => void,
  greet: (session: FakeSession) => void = () => undefined,
): Promise<FakeCoordinator> {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, handleProtocols: () => SUBPROTOCOL });
  const sessions: FakeSession[] = [];
  server.on("headers", (_headers, { socket }) => {
    // A greeting then leaves in one packet with the answer to the upgrade.
    socket.cork();
    process.nextTick(() => socket.uncork());
  });
  server.on("connection", (socket, request) => {
    const closed = Promise.withResolvers<{ code: number; reason: string }>();
    const session: FakeSession = {
      socket,
      authorization: request.headers.authorization,
      frames: [],
      send: (payload) => socket.send(encodeFrame(payload)),
      closed: closed.promise,
    };
    const position = sessions.push(session) - 1;
    socket.on("error", () => undefined);
    socket.on("close", (code, reason) => closed.resolve({ code, reason: reason.toString() }));
    socket.on("message", (data) => {
      const frame = JSON.parse(data.toString()) as WorkerFrame;
      session.frames.push(frame);
      script(session, frame, position);
    });
    greet(session);
  });
  await once(server, "listening");
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sessions,
    async [Symbol.asyncDispose]() {
      for (const socket of server.clients) socket.terminate();
      const gone = once(server, "close");
      server.close();
      await gone;
    },
  };
}

/** Welcomes every worker and acknowledges its beats, as a coordinator should. */
export function behave(session: FakeSession, frame: WorkerFrame): void {
  if (frame.t === "hello") session.send(WELCOME);
  if (frame.t === "beat") session.send({ t: "beat.ack", n: frame.n });
}
