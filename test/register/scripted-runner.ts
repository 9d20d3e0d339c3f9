import { type Job, type JobCalls, type JobOutcome, type JobRunner, outcomeOfAbort, type Slots } from "../../src/job.ts";
import type { JobKind } from "../../src/model.ts";
import type { JobErrorCode } from "../../src/protocol.ts";

/** One execution, which goes on until the test ends it or it is aborted. */
export interface Execution extends JobCalls {
  job: Job;
  over: boolean;
  end(outcome?: Partial<JobOutcome>): void;
}

export interface ScriptedRunner extends JobRunner {
  /** Every one there was, in order. */
  executions: Execution[];
  /** What offers get in place of a start. */
  refuse: JobErrorCode | Error | null;
  /** Aborts are not heeded until the test ends the execution. */
  stubborn: boolean;
}

/** A runner with these slots, whose jobs do what the test says. */
export function scriptedRunner(slots: Slots = { chat: 2 }): ScriptedRunner {
  const listeners = new Set<() => void>();
  const executions: Execution[] = [];
  const free: Slots = { ...slots };
  const take = (kind: JobKind, n: number) => {
    free[kind] = (free[kind] ?? 0) - n;
    for (const listener of listeners) listener();
  };
  const runner: ScriptedRunner = {
    executions,
    refuse: null,
    stubborn: false,
    slots,
    get slotsFree() {
      return { ...free };
    },
    start(job, calls) {
      if (runner.refuse instanceof Error) throw runner.refuse;
      if (runner.refuse) return runner.refuse;
      if (!free[job.kind]) return "BUSY";
      const { promise, resolve } = Promise.withResolvers<JobOutcome>();
      const settle = (outcome: JobOutcome) => {
        if (execution.over) return;
        execution.over = true;
        resolve(outcome);
        take(job.kind, -1);
      };
      const execution: Execution = {
        job,
        ...calls,
        over: false,
        end: (outcome) => settle({ status: "done", output: { text: "fine" }, ...outcome }),
      };
      calls.signal.addEventListener("abort", () => {
        if (!runner.stubborn) settle(outcomeOfAbort(calls.signal.reason));
      });
      executions.push(execution);
      take(job.kind, 1);
      return promise;
    },
    onSlots(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  return runner;
}
