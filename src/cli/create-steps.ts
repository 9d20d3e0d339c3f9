import type { CreateEvent } from "../fetch/create/create-server.ts";
import type { Logger } from "../log.ts";
import { showWork, type WorkProgress } from "./work-progress.ts";

export interface CreateSteps extends Disposable {
  /** What the server said, each step once. */
  statuses: string[];
  onEvent(event: CreateEvent): void;
}

/** Tells each step of the server once, and how far it is where that is said. */
export function followSteps(name: string, log: Logger, terminal: NodeJS.WriteStream | null): CreateSteps {
  const statuses: string[] = [];
  let bar: { work: WorkProgress; status: string; completed: number } | null = null;
  const end = () => {
    bar?.work[Symbol.dispose]();
    bar = null;
  };
  return {
    statuses,
    onEvent({ status, total, completed = 0 }: CreateEvent) {
      if (status !== statuses.at(-1)) {
        end();
        statuses.push(status);
        if (!total) log.info(`${name}: ${status}`);
      }
      if (!total) return;
      if (!bar) {
        const work = showWork({ doing: status, done: status, name }, terminal, log);
        bar = { work, status, completed: 0 };
        work.onPlan({ bytes: total, missingBytes: total, missingFiles: 1 });
      }
      bar.work.onBytes(completed - bar.completed);
      bar.completed = completed;
    },
    [Symbol.dispose]: end,
  };
}
