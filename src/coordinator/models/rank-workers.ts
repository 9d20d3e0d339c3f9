import type { WorkerView } from "../workers/worker-view.ts";

/**
 * Workers for a model that is asked for, the best first: how far they are with it (`progress`, more is better), then the most
 * free memory on a GPU, then the largest share of free slots, then free main memory.
 */
export function rankWorkers(workers: readonly WorkerView[], progress: (worker: WorkerView) => number): WorkerView[] {
  const marks = new Map(
    workers.map((worker) => [worker, [progress(worker), freeGpuMiB(worker), freeShare(worker), freeMemory(worker)]]),
  );
  const compare = (a: WorkerView, b: WorkerView) => {
    const [of, other] = [marks.get(a)!, marks.get(b)!];
    const position = of.findIndex((mark, index) => mark !== other[index]);
    return position < 0 ? 0 : other[position]! - of[position]!;
  };
  return workers.toSorted(compare);
}

/** Of the freest; as measured last, else as it was at the start. */
function freeGpuMiB({ vitals, hardware }: WorkerView): number {
  const gpus = vitals?.gpus.length ? vitals.gpus : hardware.gpus;
  return Math.max(0, ...gpus.map(({ memoryFreeMiB }) => memoryFreeMiB ?? 0));
}

function freeShare({ slots, vitals }: WorkerView): number {
  const sum = (counts: WorkerView["slots"]) => Object.values(counts).reduce((total, count) => total + count, 0);
  return vitals === null || sum(slots) === 0 ? 1 : sum(vitals.slotsFree) / sum(slots);
}

function freeMemory({ hardware }: WorkerView): number {
  return hardware.memory.availableBytes;
}
