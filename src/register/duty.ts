import { type CoordinatorFrame, type ModelReport, SILENT_BEATS } from "../protocol.ts";
import type { Connection } from "./connection.ts";
import { startHeartbeat } from "./heartbeat.ts";
import type { DeskSession } from "./job-desk.ts";
import { reportModels } from "./report-models.ts";
import type { SessionContext } from "./session-context.ts";
import { watchSilence } from "./silence.ts";

export interface DutyOptions extends SessionContext {
  connection: Connection;
  welcome: Extract<CoordinatorFrame, { t: "welcome" }>;
  /** When the hello went out (performance.now). */
  introducedAt: number;
  /** The models as the hello told them. */
  known: ModelReport[];
}

export interface Duty {
  acknowledge(ack: Extract<CoordinatorFrame, { t: "beat.ack" }>): void;
  readonly jobs: DeskSession;
  /** The welcome held for one beat, and a beat was acknowledged: this coordinator works. */
  held(): boolean;
  stop(): void;
}

/** A session from its welcome on: beats, reports of the models, jobs, and the watch over the acknowledgements. */
export function startDuty({ connection, welcome, introducedAt, known, board, vitals, ...context }: DutyOptions): Duty {
  const { url, desk, log } = context;
  const { beatMs, sessionId, epoch } = welcome;
  const welcomedAt = performance.now();
  const silentMs = beatMs * SILENT_BEATS;
  let acknowledged = 0;
  let told = "";
  const standing = () => `${board.current.state} ${board.current.ready}`;

  connection.limitFrames(welcome.maxFrame);
  board.setCoordinator({ url, connected: true, sessionId, epoch, beatMs, error: null });
  log.info({ sessionId, epoch, beatMs }, "Registered with the coordinator");

  const reporter = reportModels(board, known, (report) => connection.send({ t: "model.state", ...report }));
  // Before the first beat, which lists what is kept.
  const jobs = desk.attach(connection, welcome, introducedAt);
  const silence = watchSilence(silentMs, () => connection.terminate(`no beat acknowledged within ${silentMs} ms`));
  const heartbeat = startHeartbeat(beatMs, (n, loopLagMs) => {
    const { ready, state } = board.current;
    told = standing();
    connection.send({
      t: "beat",
      n,
      ready,
      state,
      slotsFree: desk.slotsFree,
      ...vitals.latest,
      loopLagMs,
      jobs: jobs.beat(n),
      modelsRevision: reporter.revision,
    });
    vitals.refresh();
  });
  jobs.begin();
  const unsubscribe = board.onChange((event) => {
    if (event.kind === "agent" && standing() !== told) heartbeat.now();
  });
  return {
    jobs,
    acknowledge(ack) {
      if (ack.n > heartbeat.n) return;
      jobs.acknowledge(ack);
      if (ack.n <= acknowledged) return;
      acknowledged = ack.n;
      silence.heard();
      board.setCoordinator({ url, lastAckAt: Date.now() });
    },
    held: () => acknowledged > 0 && performance.now() - welcomedAt >= beatMs,
    stop() {
      unsubscribe();
      jobs.detach();
      heartbeat.stop();
      silence.stop();
      reporter.stop();
    },
  };
}
