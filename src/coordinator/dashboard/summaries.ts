import type { JobKind } from "../../model.ts";
import type { ModelReport } from "../../protocol.ts";
import type { JobRecord, JobState } from "../jobs/job-record.ts";
import type { WorkerView } from "../workers/worker-view.ts";

/** What the dashboard shows of workers and jobs. Never inputs, outputs or messages of jobs: those may hold what people wrote. */

export interface GpuSummary {
  /** In steps of 64; null where it is not known. */
  usedMiB: number | null;
  totalMiB: number | null;
  /** It was there as the worker started, and its last beat does not list it. */
  lost: boolean;
}

export type ModelSummary = Pick<ModelReport, "model" | "state" | "bytesDone" | "bytesTotal" | "rate" | "errorCode">;

export interface WorkerSummary extends Pick<WorkerView, "id" | "state" | "ready" | "connected"> {
  type: string;
  /** The names of its GPUs, each once. */
  cards: string[];
  gpus: GpuSummary[];
  slots: number;
  slotsFree: number;
  models: ModelSummary[];
}

export interface JobSummary {
  id: string;
  kind: JobKind;
  model: string;
  state: JobState;
  attempt: number;
  workerId: string | null;
  client: string | null;
  /** Milliseconds of the clock. */
  createdAt: number;
  finishedAt: number | null;
  errorCode: string | null;
}

export function summarizeWorker(view: WorkerView): WorkerSummary {
  const { id, workerType: type, state, ready, connected, slots, vitals } = view;
  const sum = (counts: Partial<Record<JobKind, number>>) => Object.values(counts).reduce((all, n) => all + n, 0);
  return {
    ...{ id, type, state, ready, connected },
    cards: [...new Set(view.hardware.gpus.map(({ name }) => name))],
    gpus: gpusOf(view),
    slots: sum(slots),
    slotsFree: vitals ? sum(vitals.slotsFree) : 0,
    models: view.models.map(({ model, state, bytesDone, bytesTotal, rate, errorCode }) => ({
      ...{ model, state, bytesDone, bytesTotal, errorCode },
      rate: state === "fetching" ? Math.round(rate) : 0,
    })),
  };
}

/** Less would not be seen, and each change is sent to all who watch. */
const MEMORY_STEP_MIB = 64;
/** A worker measures its GPUs for the first time after its first beats. */
const BEATS_BEFORE_MEASURED = 3;

function gpusOf({ hardware, vitals, beats }: WorkerView): GpuSummary[] {
  const isMeasured = vitals !== null && (vitals.gpus.length > 0 || beats > BEATS_BEFORE_MEASURED);
  return hardware.gpus.map(({ uuid, memoryTotalMiB, memoryFreeMiB }) => {
    const usage = vitals?.gpus.find((gpu) => gpu.uuid === uuid);
    const before = memoryTotalMiB === null || memoryFreeMiB === null ? null : memoryTotalMiB - memoryFreeMiB;
    const usedMiB = usage ? usage.memoryUsedMiB : before;
    return {
      usedMiB: usedMiB === null ? null : Math.round(usedMiB / MEMORY_STEP_MIB) * MEMORY_STEP_MIB,
      totalMiB: memoryTotalMiB,
      lost: isMeasured && !usage,
    };
  });
}

export function summarizeJob(job: JobRecord): JobSummary {
  const { id, kind, model, state, attempt, workerId, client, createdAt, finishedAt, outcome } = job;
  const errorCode = outcome?.error?.code ?? null;
  return { id, kind, model, state, attempt, workerId, client, createdAt, finishedAt, errorCode };
}
