import { CLOSE, type CoordinatorFrame } from "../protocol.ts";
import type { CloseInfo, Connection } from "./connection.ts";
import { type Duty, startDuty } from "./duty.ts";
import { helloFrame } from "./hello.ts";
import type { Command, SessionContext } from "./session-context.ts";

export interface SessionEnd extends CloseInfo {
  /** See {@link Duty.held}; false where there was no welcome. */
  held: boolean;
}

/** Introduces the worker on an open connection and keeps it reported until the connection closes. */
export async function runSession(connection: Connection, context: SessionContext): Promise<SessionEnd> {
  const { board, url, helloTimeoutMs } = context;
  const hello = helloFrame(board.current, context.slots);
  let duty = null as Duty | null;
  const timer = setTimeout(
    () => connection.close(CLOSE.helloTimeout, `no welcome within ${helloTimeoutMs} ms`),
    helloTimeoutMs,
  );
  connection.listen((frame) => {
    if (frame.t === "welcome" && !duty) {
      clearTimeout(timer);
      duty = startDuty({ ...context, connection, welcome: frame, known: hello.models });
    } else if (frame.t === "welcome") connection.close(CLOSE.protocol, "welcome: twice in one session");
    else if (!duty) connection.close(CLOSE.protocol, `${frame.t}: before welcome`);
    else if (frame.t === "beat.ack") duty.acknowledge(frame.n);
    else obey(frame, connection, context);
  });
  connection.send(hello);
  const end = await connection.closed;
  clearTimeout(timer);
  duty?.stop();
  board.setCoordinator({ url, connected: false, sessionId: null, epoch: null });
  return { ...end, held: duty?.held() ?? false };
}

type Order = Exclude<CoordinatorFrame, { t: "welcome" | "beat.ack" }>;

function obey(frame: Order, connection: Connection, context: SessionContext): void {
  const command = commandOf(frame);
  if (command) {
    context.log.info(command, `The coordinator asks: ${frame.t}`);
    try {
      context.onCommand(command);
    } catch (error) {
      // A fault in one command must not end the process by way of the socket's event.
      context.log.error({ err: error }, `Carrying out ${frame.t} failed`);
    }
  } else if (frame.t === "reconnect") connection.close(1000, "reconnecting as asked");
  else if (frame.t === "job.offer") {
    // Jobs are not served yet; a plain answer lets the coordinator place this one elsewhere.
    connection.send({ t: "job.reject", jobId: frame.jobId, attempt: frame.attempt, code: "UNSUPPORTED" });
  } else context.log.debug(`Ignored a ${frame.t} frame: no job runs here`);
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
      return { type: "ensure", models: frame.models };
    case "models.remove":
      return { type: "remove", models: frame.models };
    default:
      return null;
  }
}
