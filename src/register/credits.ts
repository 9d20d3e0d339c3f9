import type { Slots } from "../job.ts";
import { JOB_KINDS } from "../model.ts";
import type { WorkerPayload } from "../protocol.ts";

export interface Credits {
  /** The slots may have changed: what the coordinator does not know yet is told, once a turn of the loop at most. */
  changed(): void;
  stop(): void;
}

/** Tells the coordinator of one session for how many jobs of each kind an offer would be taken; it begins with none. */
export function tellCredits(slotsFree: () => Slots, send: (credit: WorkerPayload) => void): Credits {
  const told: Slots = {};
  let due: NodeJS.Immediate | null = null;

  const tell = () => {
    due = null;
    const free = slotsFree();
    for (const kind of JOB_KINDS) {
      const n = free[kind] ?? 0;
      if (n === (told[kind] ?? 0)) continue;
      told[kind] = n;
      send({ t: "credit", kind, n });
    }
  };
  return {
    changed() {
      due ??= setImmediate(tell);
    },
    stop() {
      if (due) clearImmediate(due);
    },
  };
}
