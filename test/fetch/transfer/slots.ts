import type { Slot, SlotPool } from "../../../src/fetch/transfer/slots.ts";

/** How many slots the pool has to give just now, each of them used by nobody. */
export function freeSlots(pool: SlotPool): number {
  const taken: Slot[] = [];
  for (let slot = pool.take(); slot.offset !== null; slot = pool.take()) {
    if (slot.users !== 1) throw new Error(`A free slot has ${slot.users - 1} users`);
    taken.push(slot);
  }
  for (const slot of taken) slot.release();
  return taken.length;
}
