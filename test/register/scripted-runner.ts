import { type Job, type JobCalls, type JobOutcome, type JobRunner, outcomeOfAbort, type Slots } from "../../src/job.ts";
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
  const changed = () => {
    for (const listener of listeners) listener();
  };
  const runner: ScriptedRunner = {
    executions,
    refuse: null,
    stubborn: false,
    slots,
    get slotsFree() {
      const free = { ...slots };
      for (const { job, over } of executions) if (!over) free[job.kind] = (free[job.kind] ?? 0) - 1;
      return free;
    },
    start(job, calls) {
      if (runner.refuse instanceof Error) throw runner.refuse;
      if (runner.refuse) return runner.refuse;
      if (!runner.slotsFree[job.kind]) return "BUSY";
      const { promise, resolve } = Promise.withResolvers<JobOutcome>();
      const settle = (outcome: JobOutcome) => {
        if (execution.over) return;
        execution.over = true;
        resolve(outcome);
        changed();
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
      changed();
      return promise;
    },
    onSlots(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  return runner;
}
