import { setTimeout as sleep } from "node:timers/promises";
import { type JobOutcome, type JobRef, type JobRunner, type Slots, toJobFailure } from "../job.ts";
import type { Logger } from "../log.ts";
import type { CoordinatorFrame, JobErrorCode, WorkerPayload } from "../protocol.ts";
import type { Connection } from "./connection.ts";
import { createJobInFlight, type JobInFlight, type Offer } from "./job-in-flight.ts";
import { type JobLink, openJobLink } from "./job-link.ts";
import { encodeResult, underAttempt } from "./job-result.ts";
import type { Outbox } from "./outbox.ts";

type Hello = Extract<WorkerPayload, { t: "hello" }>;
type Welcome = Extract<CoordinatorFrame, { t: "welcome" }>;
export type JobFrame = Extract<CoordinatorFrame, { t: "job.offer" | "job.cancel" | "chunk.ack" | "result.ack" }>;

export interface JobDeskOptions {
  runner: JobRunner;
  outbox: Outbox;
  log: Logger;
}

/** Where jobs come in and results go out. It lives as long as the agent; sessions come and go. */
export interface JobDesk {
  /** What the hello says of jobs. */
  introduce(): Pick<Hello, "slots" | "jobs" | "results">;
  readonly slotsFree: Slots;
  /** A session begins; what the welcome says of jobs takes effect at once. `since` (performance.now): when hello was sent. */
  attach(connection: Connection, welcome: Welcome, since: number): DeskSession;
  /**
   * Takes no new jobs. Settles when those in flight are over, which they are made to be after `timeoutMs`, and their
   * results acknowledged, which is waited for a few seconds.
   */
  drain(timeoutMs: number): Promise<void>;
  /** Gives all jobs back at once, to be done by another worker. */
  release(): void;
  /** There will be no more sessions: nobody waits for the jobs in flight. */
  abandon(why: string): void;
}

export interface DeskSession extends Pick<JobLink, "begin" | "beat" | "acknowledge"> {
  take(frame: JobFrame): void;
  detach(): void;
}

/** At the end: how long results may wait for their acknowledgement, and jobs that were given up for their end. */
const LAST_WORDS_MS = 2_000;

export function openJobDesk({ runner, outbox, log }: JobDeskOptions): JobDesk {
  const jobs = new Map<string, JobInFlight>();
  const waits = new Set<() => void>();
  let link: JobLink | null = null;
  let leaseMs = 0;
  let draining = false;

  /** Settles once nothing is left of what is counted. */
  const none = (count: () => number) =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (count() > 0) return;
        waits.delete(look);
        resolve();
      };
      waits.add(look);
      look();
    });
  const changed = () => {
    for (const look of waits) look();
  };
  const slotsFree = () => (draining ? {} : runner.slotsFree);
  runner.onSlots(() => link?.slotsChanged());

  const accept = (offer: Offer) => link?.accept(offer);
  const reject = ({ jobId, attempt }: JobRef, code: JobErrorCode) => {
    log.debug({ jobId, attempt, code }, "Rejected a job");
    link?.send({ t: "job.reject", jobId, attempt, code });
  };

  const finish = async (job: JobInFlight, outcome: JobOutcome) => {
    job.end();
    jobs.delete(job.jobId);
    const { jobId, attempt, abandoned } = job;
    log.debug({ jobId, attempt, status: outcome.status, code: outcome.error?.code }, "A job is over");
    if (!abandoned) {
      link?.flushChunks(job);
      const result = encodeResult(job, outcome);
      const kept = outbox.put(result);
      // Sent while the disk is still asked to keep it: a kill before it has loses no more than one a moment earlier.
      link?.sendResult(result);
      changed();
      await kept;
    } else {
      log.warn({ jobId, attempt }, "A job was given up: its lease is gone");
      changed();
    }
  };
  const start = (offer: Offer) => {
    const job = createJobInFlight(offer, leaseMs);
    const running = begin(job, offer.stream);
    if (typeof running === "string") {
      job.end();
      return reject(offer, running);
    }
    jobs.set(offer.jobId, job);
    log.debug({ jobId: offer.jobId, attempt: offer.attempt, kind: offer.kind, model: offer.model }, "Accepted a job");
    accept(offer);
    link?.sendChunks(job);
    running
      .catch((error: unknown): JobOutcome => ({ status: "failed", error: toJobFailure(error) }))
      .then((outcome) => finish(job, outcome))
      .catch((error: unknown) => log.error({ err: error }, "Handing in a result failed"));
  };
  const begin = (job: JobInFlight, stream: boolean): JobErrorCode | Promise<JobOutcome> => {
    const onChunk = (delta: unknown) => {
      if (!stream || job.signal.aborted) return null;
      job.ring.push(delta);
      // Until it is accepted its chunks wait.
      return (jobs.get(job.jobId) === job && link?.sendChunks(job)) || null;
    };
    try {
      return runner.start(job.toJob(), { onChunk, signal: job.signal });
    } catch (error) {
      log.error({ err: error }, "Starting a job failed");
      return "INTERNAL";
    }
  };

  /** An offer of a job that runs here. */
  const offerAgain = (job: JobInFlight, offer: Offer) => {
    if (offer.attempt < job.attempt) return reject(offer, "STALE_ATTEMPT");
    // It is ending, and its outcome is not one for this offer. Beside it nothing may run.
    if (job.abandoned || (job.signal.aborted && offer.attempt > job.attempt)) return reject(offer, "BUSY");
    job.adopt(offer);
    job.renew(performance.now(), leaseMs);
    accept(offer);
    link?.sendChunks(job);
  };
  const offer = (frame: Offer) => {
    const job = jobs.get(frame.jobId);
    if (job) return offerAgain(job, frame);
    const result = outbox.waiting.get(frame.jobId);
    if (result && frame.attempt < result.attempt) return reject(frame, "STALE_ATTEMPT");
    if (result && frame.attempt === result.attempt) {
      accept(frame);
      return link?.sendResult(result);
    }
    if (result?.status === "done") {
      // The work is done; a later attempt would do the same.
      const later = underAttempt(result, frame.attempt);
      accept(frame);
      void outbox.put(later);
      return link?.sendResult(later);
    }
    if (draining) return reject(frame, "DRAINING");
    if (frame.remainingMs === 0) return reject(frame, "TIMEOUT");
    // A failure of an earlier attempt is of no more use.
    if (result) outbox.remove(result);
    start(frame);
  };
  const take = (frame: JobFrame) => {
    if (frame.t === "job.offer") return offer(frame);
    if (frame.t === "result.ack") {
      outbox.remove(frame);
      return changed();
    }
    const job = jobs.get(frame.jobId);
    if (job?.attempt !== frame.attempt) return;
    if (frame.t === "job.cancel") job.cancel();
    else job.ring.acknowledge(frame.cs);
  };
  const release = () => {
    for (const job of jobs.values()) job.release();
  };

  return {
    introduce: () => ({
      slots: runner.slots,
      jobs: [...jobs.values()]
        .filter(({ abandoned }) => !abandoned)
        .map(({ jobId, attempt, lease, ring }) => ({ jobId, attempt, lease, cs: ring.next })),
      results: [...outbox.waiting.values()].map(({ jobId, attempt }) => ({ jobId, attempt })),
    }),
    get slotsFree() {
      return slotsFree();
    },
    attach(connection, welcome, since) {
      leaseMs = welcome.leaseMs;
      const verdicts = new Map(welcome.resume.map((entry) => [entry.jobId, entry]));
      for (const job of jobs.values()) {
        const entry = verdicts.get(job.jobId);
        if (entry?.verdict !== "keep") job.abandon("the coordinator has not kept it");
        else {
          job.renew(since, leaseMs);
          job.ring.rewind(entry.cs);
        }
      }
      const opened = openJobLink({ connection, leaseMs, jobs, outbox, slotsFree });
      link = opened;
      return {
        ...opened,
        take,
        detach() {
          opened.stop();
          if (link === opened) link = null;
        },
      };
    },
    async drain(timeoutMs) {
      draining = true;
      link?.slotsChanged();
      const over = new AbortController();
      const clock = (ms: number) => sleep(ms, undefined, { signal: over.signal }).catch(() => undefined);
      await Promise.race([none(() => jobs.size), clock(timeoutMs)]);
      release();
      await Promise.race([none(() => jobs.size + outbox.waiting.size), clock(LAST_WORDS_MS)]);
      over.abort();
    },
    release,
    abandon(why) {
      for (const job of jobs.values()) job.abandon(why);
    },
  };
}
