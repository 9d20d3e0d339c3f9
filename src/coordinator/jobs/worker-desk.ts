import type { JobRef } from "../../job.ts";
import type { Logger } from "../../log.ts";
import type { JobKind } from "../../model.ts";
import type { JobErrorCode, WorkerFrame } from "../../protocol.ts";
import type { Tally } from "../metrics/tally.ts";
import { isUnavailable } from "../stores/unavailable.ts";
import type { WorkerRegistry } from "../workers/worker-registry.ts";
import type { Assignments } from "./assignments.ts";
import type { Attempts } from "./attempts.ts";
import type { Fleet } from "./fleet.ts";
import type { Followers } from "./followers.ts";
import type { Resume, WorkerJobs } from "./jobs.ts";
import type { Matcher } from "./matcher.ts";
import { failed } from "./new-job.ts";
import type { Turns } from "./turns.ts";

type Hello = Extract<WorkerFrame, { t: "hello" }>;
type Result = Extract<WorkerFrame, { t: "job.result" }>;
type Chunk = Extract<WorkerFrame, { t: "job.chunk" }>;

export interface DeskParts {
  workers: Pick<WorkerRegistry, "send" | "get">;
  log: Logger;
  turns: Turns;
  fleet: Fleet;
  assignments: Assignments;
  followers: Pick<Followers, "chunk" | "isSlow">;
  matcher: Pick<Matcher, "look">;
  attempts: Attempts;
  tally: Pick<Tally, "rejected" | "result">;
  /** False once the store is closed for good. */
  isOpen: () => boolean;
}

const AGAIN_MS = 500;

/** What workers say of jobs, and what follows. */
export class WorkerDesk implements WorkerJobs {
  readonly #parts: DeskParts;

  constructor(parts: DeskParts) {
    this.#parts = parts;
  }

  async joined({ workerId, jobs, results }: Hello): Promise<Resume[]> {
    this.#parts.fleet.reset(workerId);
    this.#parts.assignments.renew(workerId, jobs);
    const has = [...jobs, ...results];
    for (const { jobId, attempt, sent } of this.#parts.assignments.of(workerId)) {
      // An offer that still waits for the store goes out to this session.
      if (sent && !has.some((ref) => ref.jobId === jobId && ref.attempt === attempt))
        this.#parts.attempts.giveBack({ jobId, attempt }, { code: "LEASE_LOST", message: "Its worker lost it." });
    }
    return jobs.map((ref) => {
      const found = this.#parts.assignments.find(ref, workerId);
      return { jobId: ref.jobId, verdict: found ? "keep" : "abandon", cs: found?.cs ?? 0 };
    });
  }

  updated(workerId: string): void {
    const { fleet, workers, matcher } = this.#parts;
    if (fleet.update(workerId, workers.get(workerId))) matcher.look(fleet.lanesOf(workerId));
  }

  leaves(workerId: string): void {
    this.#parts.fleet.remove(workerId);
    for (const ref of this.#parts.assignments.of(workerId))
      this.#parts.attempts.giveBack(ref, { code: "DRAINING", message: "Its worker has left." });
  }

  disconnected(workerId: string): void {
    this.#parts.fleet.reset(workerId);
  }

  credit(workerId: string, kind: JobKind, n: number): void {
    this.#parts.fleet.credit(workerId, kind, n);
    this.#parts.matcher.look(this.#parts.fleet.lanesOf(workerId));
  }

  accepted(workerId: string, ref: JobRef): void {
    this.renew(workerId, [ref]);
    const found = this.#parts.assignments.find(ref, workerId);
    if (!found || found.answered) return;
    found.answered = true;
    found.acceptedAt = performance.now();
    this.#parts.fleet.answered(workerId, found.job, "accepted");
  }

  rejected(workerId: string, ref: JobRef, code: JobErrorCode): void {
    const found = this.#parts.assignments.find(ref, workerId);
    if (!found) return;
    this.#parts.log.debug({ jobId: ref.jobId, workerId, code }, "A worker turned a job down");
    this.#parts.tally.rejected(found.job.kind, code);
    const isWrong = code === "UNSUPPORTED";
    if (!found.answered) this.#parts.fleet.answered(workerId, found.job, isWrong ? "none" : "declined");
    found.answered = true;
    const { kind, model } = found.job;
    const outcome = failed(code, `The model ${model} does not take jobs of the kind ${kind}.`);
    if (isWrong) this.#parts.attempts.later(ref.jobId, () => this.#parts.attempts.end(ref.jobId, ref.attempt, outcome));
    else this.#parts.attempts.requeue(found);
  }

  renew(workerId: string, jobs: readonly JobRef[]): { renewed: string[]; lost: string[] } {
    // The order to cancel it may have been lost with a socket.
    for (const { jobId, attempt } of jobs.filter((ref) => this.#parts.assignments.find(ref, workerId)?.cancelled))
      this.#parts.workers.send(workerId, { t: "job.cancel", jobId, attempt });
    return this.#parts.assignments.renew(workerId, jobs);
  }

  chunk(workerId: string, { jobId, attempt, cs, delta }: Chunk, bytes: number): number | null {
    const found = this.#parts.assignments.find({ jobId, attempt }, workerId);
    if (!found) return null;
    if (cs === found.cs) {
      found.cs += 1;
      this.#parts.followers.chunk(jobId, { type: "chunk", attempt, cs, delta }, { bytes, keep: !found.job.attended });
    }
    found.held = this.#parts.followers.isSlow(jobId);
    return found.held ? null : found.cs;
  }

  /** Until the store has taken it: the worker sends it again only to another session. */
  async result(workerId: string, result: Result): Promise<void> {
    for (;;) {
      try {
        return await this.#keep(workerId, result);
      } catch (error) {
        if (!isUnavailable(error)) throw error;
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
        if (!this.#parts.isOpen()) throw error;
      }
    }
  }

  #keep(workerId: string, { jobId, attempt, status, output, error, usage, timings }: Result): Promise<void> {
    return this.#parts.turns.take(jobId, async () => {
      const { attempts, tally } = this.#parts;
      if (error?.retryable && status === "failed") {
        await attempts.tryAgain({ jobId, attempt }, failed(error.code, error.message));
        tally.result("failed");
      } else {
        const ended = await attempts.end(jobId, attempt, { status, output, ...(error && { error }), usage, timings });
        tally.result(ended ? "committed" : "late");
      }
      this.#parts.log.debug({ jobId, attempt, workerId, status }, "A job has ended at its worker");
    });
  }

  /** Who was slow with a job is not any more. */
  acknowledgeHeld(jobId: string): void {
    const found = this.#parts.assignments.get(jobId);
    if (!found?.held || this.#parts.followers.isSlow(jobId)) return;
    found.held = false;
    const { workerId, attempt, cs } = found;
    this.#parts.workers.send(workerId, { t: "chunk.ack", jobId, attempt, cs: cs - 1 });
  }

  /** Takes jobs from workers that are silent for too long. To be called often. */
  sweep(): void {
    const { assignments, attempts, fleet, workers } = this.#parts;
    for (const assignment of assignments.expired(performance.now())) {
      attempts.giveBack(assignment, {
        code: "LEASE_LOST",
        message: "Its worker has not been heard of for too long.",
        isStill: () => assignment.expiresAt < performance.now(),
      });
    }
    fleet.keep((id) => workers.get(id) !== null);
  }
}
