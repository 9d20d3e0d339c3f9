import type { JobRunner } from "../../src/job.ts";

/** The runner of a worker that serves no jobs: it has no slots, and says so of each offer. */
export const noJobs: JobRunner = {
  slots: {},
  slotsFree: {},
  start: () => "UNSUPPORTED",
  onSlots: () => () => undefined,
};
