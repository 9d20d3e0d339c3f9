import { CLOSE, type CoordinatorFrame } from "../protocol.ts";
import type { CloseInfo, Connection } from "./connection.ts";
import { type Duty, startDuty } from "./duty.ts";
import { helloFrame } from "./hello.ts";
import type { JobFrame } from "./job-desk.ts";
import type { Command, SessionContext } from "./session-context.ts";

export interface SessionEnd extends CloseInfo {
  /** See {@link Duty.held}; false where there was no welcome. */
  held: boolean;
}

/** Introduces the worker on an open connection and keeps it reported until the connection closes. */
export async function runSession(connection: Connection, context: SessionContext): Promise<SessionEnd> {
  const { board, url, helloTimeoutMs } = context;
  const hello = helloFrame(board.current, context.desk);
  const introducedAt = performance.now();
  let duty = null as Duty | null;
  const timer = setTimeout(
    () => connection.close(CLOSE.helloTimeout, `no welcome within ${helloTimeoutMs} ms`),
    helloTimeoutMs,
  );
  const take = (frame: CoordinatorFrame) => {
    if (frame.t === "welcome" && !duty) {
      clearTimeout(timer);
      duty = startDuty({ ...context, connection, welcome: frame, introducedAt, known: hello.models });
    } else if (frame.t === "welcome") connection.close(CLOSE.protocol, "welcome: twice in one session");
    else if (!duty) connection.close(CLOSE.protocol, `${frame.t}: before welcome`);
    else if (frame.t === "beat.ack") duty.acknowledge(frame);
    else if (isJobFrame(frame)) duty.jobs.take(frame);
    else obey(frame, connection, context);
  };
  connection.listen((frame) => {
    try {
      take(frame);
    } catch (error) {
      // A fault in taking one frame must not end the process by way of the socket's event.
      context.log.error({ err: error }, `Carrying out ${frame.t} failed`);
    }
  });
  connection.send(hello);
  const end = await connection.closed;
  clearTimeout(timer);
  duty?.stop();
  board.setCoordinator({ url, connected: false, sessionId: null, epoch: null });
  return { ...end, held: duty?.held() ?? false };
}

type Order = Exclude<CoordinatorFrame, JobFrame | { t: "welcome" | "beat.ack" }>;

const JOB_FRAMES: readonly string[] = ["job.offer", "job.cancel", "chunk.ack", "result.ack"] satisfies JobFrame["t"][];

function isJobFrame(frame: CoordinatorFrame): frame is JobFrame {
  return JOB_FRAMES.includes(frame.t);
}

function obey(frame: Order, connection: Connection, context: SessionContext): void {
  const command = commandOf(frame);
  if (command) {
    context.log.info(command, `The coordinator asks: ${frame.t}`);
    context.onCommand(command);
  } else connection.close(1000, "reconnecting as asked");
}

function commandOf(frame: Order): Command | null {
  switch (frame.t) {
    case "pause":
    case "resume":
    case "drain":
      return { type: frame.t };
    case "models.sync":
      return { type: "sync" };
    case "models.ensure":
      return { type: "ensure", models: frame.models, options: frame.options ?? {} };
    case "models.remove":
      return { type: "remove", models: frame.models };
    case "reconnect":
      return null;
  }
}
