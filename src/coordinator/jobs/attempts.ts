import { type JobOutcome, type JobRef, toJobFailure } from "../../job.ts";
import type { Logger } from "../../log.ts";
import type { JobErrorCode } from "../../protocol.ts";
import type { Tally } from "../metrics/tally.ts";
import type { JobStore } from "../stores/job-store.ts";
import type { WorkerRegistry } from "../workers/worker-registry.ts";
import type { Admission, ClientBounds } from "./admission.ts";
import type { Assignment, Assignments } from "./assignments.ts";
import type { Fleet } from "./fleet.ts";
import type { Followers } from "./followers.ts";
import type { JobQueue, QueuedJob } from "./job-queue.ts";
import { isFinal, type JobRecord } from "./job-record.ts";
import type { Matcher } from "./matcher.ts";
import { failed } from "./new-job.ts";
import type { Turns } from "./turns.ts";

export interface AttemptsOptions {
  store: Pick<JobStore, "get" | "assign" | "release" | "commit">;
  workers: Pick<WorkerRegistry, "send" | "get">;
  boundsOf: (client: string | null) => ClientBounds;
  log: Logger;
  turns: Turns;
  queue: Pick<JobQueue, "add" | "remove" | "lanes">;
  fleet: Fleet;
  assignments: Assignments;
  followers: Pick<Followers, "state" | "end">;
  admission: Pick<Admission, "departed">;
  matcher: Pick<Matcher, "look">;
  /** The job is still this process's affair; always, where there is but one. */
  isOurs?: (jobId: string) => Promise<boolean>;
  /** A job has another state. Called often; to be cheap. */
  onChange?: (job: JobRecord) => void;
  tally: Pick<Tally, "leaseLost" | "retried" | "ran">;
}

/**
 * The way of a job from the queue to a worker, back, and to its end: in memory at once, so that nothing is offered twice,
 * and in the store, whose word counts. What is said to happen in the job's turn is to be called in {@link Turns} only.
 */
export class Attempts {
  readonly #options: AttemptsOptions;

  constructor(options: AttemptsOptions) {
    this.#options = options;
  }

  /** The job has just left the queue. */
  offer(queued: QueuedJob, workerId: string): void {
    const { store, workers, queue, fleet, assignments, followers, admission } = this.#options;
    const assignment = assignments.add(queued, workerId);
    fleet.offered(workerId, queued);
    this.later(queued.id, async () => {
      // Its result came, or it was cancelled, while it waited for this turn.
      if (assignments.get(queued.id) !== assignment) return;
      if (assignment.cancelled) return void (await this.end(queued.id, queued.attempt, CANCELLED));
      const job = await store.assign(queued.id, workerId).catch((error: unknown) => {
        this.#drop(assignment);
        queue.add(queued);
        throw error;
      });
      if (!job) return this.#drop(assignment);
      assignment.sent = true;
      admission.departed();
      this.#options.onChange?.(job);
      const { id, attempt, kind, model, input, stream, retrySafe } = job;
      const { lease } = assignment;
      const remainingMs = Math.max(1, job.deadlineAt - Date.now());
      followers.state(id, { type: "state", state: "assigned", attempt, workerId });
      const offer = { jobId: id, attempt, lease, kind, model, input, remainingMs, stream, retrySafe };
      let isSent: boolean;
      try {
        isSent = workers.send(workerId, { t: "job.offer", ...offer });
      } catch (error) {
        // No other worker could be sent it either.
        return void (await this.end(id, attempt, { status: "failed", error: toJobFailure(error) }));
      }
      if (!isSent) await this.#release(assignment, { failed: false });
    });
  }

  /** The worker does not do it: back into the queue, without harm. */
  requeue(assignment: Assignment): void {
    this.later(assignment.jobId, async () => {
      if (assignment.cancelled) await this.end(assignment.jobId, assignment.attempt, CANCELLED);
      else await this.#release(assignment, { failed: false });
    });
  }

  /** Undone. `isStill`: asked when its turn has come. */
  giveBack(ref: JobRef, { code, message, isStill = () => true }: GiveBack): void {
    this.later(ref.jobId, async () => {
      const { assignments, tally, isOurs = async () => true } = this.#options;
      const assignment = assignments.get(ref.jobId);
      if (!assignment || assignment.attempt !== ref.attempt || !isStill()) return;
      const isHere = await isOurs(ref.jobId);
      if (isHere && code === "LEASE_LOST") tally.leaseLost(assignment.job.kind);
      if (isHere) await this.tryAgain(ref, failed(code, message));
      else this.forget(assignment);
    });
  }

  /** In the job's turn: back into the queue, where another attempt does no harm and one is left; else this is its end. */
  async tryAgain({ jobId, attempt }: JobRef, outcome: JobOutcome): Promise<void> {
    const { store, assignments, fleet, tally } = this.#options;
    const assignment = assignments.get(jobId);
    if (assignment?.attempt !== attempt) return;
    if (outcome.error && ENGINE_TROUBLE.has(outcome.error.code)) fleet.faltered(assignment.workerId, assignment.job);
    const job = assignment.cancelled ? null : await store.get(jobId);
    const mayTry = job?.retrySafe && job.failures + 1 < job.maxAttempts && job.deadlineAt > Date.now();
    if (mayTry) {
      await this.#release(assignment, { failed: true });
      tally.retried(assignment.job.kind, outcome.error?.code ?? "INTERNAL");
    } else await this.end(jobId, attempt, assignment.cancelled ? CANCELLED : outcome);
  }

  /** In the job's turn. Null where another attempt counts, or it has ended before. */
  async end(jobId: string, attempt: number, outcome: JobOutcome): Promise<JobRecord | null> {
    const { store, queue, fleet, assignments, followers, admission, tally } = this.#options;
    const job = await store.commit(jobId, attempt, outcome);
    if (!job) return null;
    if (queue.remove(jobId)) admission.departed();
    const assignment = assignments.get(jobId);
    if (assignment) this.#drop(assignment);
    if (assignment && job.state === "done") fleet.worked(assignment.workerId, assignment.job);
    const acceptedAt = assignment?.acceptedAt ?? null;
    if (acceptedAt !== null && job.state === "done") tally.ran(job.kind, (performance.now() - acceptedAt) / 1000);
    followers.end(job);
    this.#options.onChange?.(job);
    return job;
  }

  /** In the job's turn. */
  async cancel(id: string): Promise<JobRecord | null> {
    const { store, assignments, workers } = this.#options;
    const job = await store.get(id);
    if (!job || isFinal(job.state)) return job;
    const assignment = assignments.get(id);
    if (!assignment) return (await this.end(id, job.attempt, CANCELLED)) ?? (await store.get(id));
    assignment.cancelled = true;
    const { workerId, attempt, sent } = assignment;
    if (sent) workers.send(workerId, { t: "job.cancel", jobId: id, attempt });
    return job;
  }

  /** Another process has it now. */
  forget(assignment: Assignment): void {
    this.#drop(assignment);
  }

  /** In the job's turn; a fault of the store is told, and the next sweep tries again. */
  later(jobId: string, work: () => Promise<unknown>): void {
    const { turns, log } = this.#options;
    turns.take(jobId, work).catch((error: unknown) => log.error({ err: error, jobId }, "Keeping a job failed"));
  }

  async #release(assignment: Assignment, as: { failed: boolean }): Promise<void> {
    const { store, queue, assignments, followers, matcher } = this.#options;
    if (assignments.get(assignment.jobId) !== assignment) return;
    const job = await store.release(assignment.jobId, assignment.attempt, as);
    this.#drop(assignment);
    if (!job) return;
    const { id, attempt } = job;
    queue.add({ ...assignment.job, attempt });
    followers.state(id, { type: "state", state: "queued", attempt, workerId: null });
    this.#options.onChange?.(job);
    matcher.look([assignment.job.lane]);
  }

  #drop(assignment: Assignment): void {
    const { assignments, fleet, queue, matcher, boundsOf } = this.#options;
    if (!assignments.delete(assignment)) return;
    const { workerId, job, answered } = assignment;
    if (!answered) fleet.answered(workerId, job, "none");
    if (boundsOf(job.client).concurrent !== null) matcher.look(queue.lanes(job.client));
  }
}

interface GiveBack {
  code: JobErrorCode;
  message: string;
  isStill?: () => boolean;
}

/** Of the worker, not of the job: the next job would fare no better there. */
const ENGINE_TROUBLE: ReadonlySet<JobErrorCode> = new Set(["ENGINE_DOWN", "BUSY", "MODEL_NOT_READY", "GPU_LOST"]);

const CANCELLED = failed("CANCELLED", "It was cancelled.");
