import type { Slots } from "../job.ts";
import { JOB_KINDS, type JobKind } from "../model.ts";
import type { WorkerPayload } from "../protocol.ts";

export interface Credits {
  /** The slots may have changed: what the coordinator does not know yet is told, once a turn of the loop at most. */
  changed(): void;
  /** The coordinator takes an accepted job off what it was told: it is told anew, also where the job is over by then. */
  accepted(kind: JobKind): void;
  stop(): void;
}

/** Tells the coordinator of one session for how many jobs of each kind an offer would be taken; it begins with none. */
export function tellCredits(slotsFree: () => Slots, send: (credit: WorkerPayload) => void): Credits {
  const told: Slots = Object.fromEntries(JOB_KINDS.map((kind) => [kind, 0]));
  let due: NodeJS.Immediate | null = null;

  const tell = () => {
    due = null;
    const free = slotsFree();
    for (const kind of JOB_KINDS) {
      const n = free[kind] ?? 0;
      if (n === told[kind]) continue;
      told[kind] = n;
      send({ t: "credit", kind, n });
    }
  };
  return {
    changed() {
      due ??= setImmediate(tell);
    },
    accepted(kind) {
      delete told[kind];
      due ??= setImmediate(tell);
    },
    stop() {
      if (due) clearImmediate(due);
    },
  };
}
