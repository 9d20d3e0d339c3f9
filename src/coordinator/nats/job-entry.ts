import type { JobOutcome } from "../../job.ts";
import { isFinal, type JobRecord } from "../jobs/job-record.ts";
import { kept } from "../stores/kept-job.ts";
import type { Payload } from "./payloads.ts";

/** What stands under a job's key in JOBSTATE. */
export interface JobEntry {
  /** Input and output stand beside it. */
  job: JobRecord;
  input: Payload | null;
  output: Payload | null;
  /** The output of an attended job, until whoever waits for it at another gateway has taken it. */
  answer: Payload | null;
  /** Of its message in JOBS. */
  sequence: number | null;
  /** Where that is acknowledged, once a gateway had it: whoever knows it may renew it, or end it. */
  ack: string | null;
  /** The gateway that took the job in; if somebody attends it, they are there. */
  origin: string;
  /** The gateway whose worker has it, or had it last. */
  holder: string | null;
  /** It was asked to end while it ran. */
  cancelled: boolean;
  /** Of the last change: tells whoever made it, and heard no answer, that it was made. */
  change: string;
}

export function newEntry(job: JobRecord, about: Pick<JobEntry, "input" | "sequence" | "origin">): JobEntry {
  const beside = { output: null, answer: null, ack: null, holder: null, cancelled: false, change: "" };
  return { job: { ...job, input: null }, ...about, ...beside };
}

/** The job has ended: with the whole outcome where `output` and `answer` were kept. */
export function endedEntry(entry: JobEntry, whole: JobRecord, beside: Pick<JobEntry, "output" | "answer">): JobEntry {
  const { input, outcome, ...job } = kept(whole);
  const { output: _, ...rest } = outcome ?? ({ status: "done" } satisfies JobOutcome);
  const stays = whole.keepInput ? entry.input : null;
  return { ...entry, job: { ...job, input: null, outcome: rest }, input: stays, ...beside };
}

export function isOver({ job }: JobEntry): boolean {
  return isFinal(job.state);
}
