import type { ModelReport } from "../protocol.ts";
import type { ModelStatus, StatusBoard } from "../status.ts";
import { modelReport } from "./model-report.ts";

export interface ModelReporter {
  /** Rises with each change of a model's state in this session. */
  readonly revision: number;
  stop(): void;
}

/** Progress of one model is told at most this often. */
const PROGRESS_MS = 500;

/** `removed`: the last that is told of it. */
export type ToldModel = ModelReport & { removed?: true };

interface Told {
  report: ModelReport;
  at: number;
  /** Set while newer progress waits for its turn. */
  timer: NodeJS.Timeout | null;
}

/** Tells the coordinator what changes of the models after `known` (those in the hello): states at once, progress coalesced. */
export function reportModels(
  board: StatusBoard,
  known: ModelReport[],
  send: (report: ToldModel) => void,
): ModelReporter {
  const told = new Map<string, Told>(
    known.map((report) => [report.model, { report, at: Number.NEGATIVE_INFINITY, timer: null }]),
  );
  const latest = new Map<string, ModelStatus>();
  let revision = 0;

  const tell = (id: string) => {
    const last = told.get(id);
    const report = modelReport(latest.get(id)!);
    if (last && JSON.stringify(last.report) === JSON.stringify(report)) return;
    const changed = !last || standing(last.report) !== standing(report);
    const waitMs = last ? last.at + PROGRESS_MS - performance.now() : 0;
    if (last && !changed && waitMs > 0) {
      last.timer ??= setTimeout(() => {
        last.timer = null;
        tell(id);
      }, waitMs);
      return;
    }
    if (last?.timer) clearTimeout(last.timer);
    if (changed) revision += 1;
    told.set(id, { report, at: performance.now(), timer: null });
    send(report);
  };
  const note = (model: ModelStatus) => {
    latest.set(model.id, model);
    tell(model.id);
  };
  const forget = (report: ModelReport) => {
    const last = told.get(report.model);
    if (last?.timer) clearTimeout(last.timer);
    told.delete(report.model);
    latest.delete(report.model);
    revision += 1;
    // For a coordinator that does not know `removed` it has failed, and gets no jobs.
    send({ ...report, state: "failed", rate: 0, removed: true });
  };
  const unsubscribe = board.onChange((event) => {
    if (event.kind === "model") note(event.model);
    else if (event.kind === "removed") forget(modelReport(event.model));
  });
  // What changed between the hello and now.
  for (const report of known) {
    if (!board.current.models.some(({ id }) => id === report.model)) forget(report);
  }
  for (const model of board.current.models) note(model);
  return {
    get revision() {
      return revision;
    },
    stop() {
      unsubscribe();
      for (const { timer } of told.values()) if (timer) clearTimeout(timer);
    },
  };
}

/** What is told at once when it changes. */
function standing({ state, errorCode, error, asked }: ModelReport): string {
  return JSON.stringify([state, errorCode, error, asked]);
}
