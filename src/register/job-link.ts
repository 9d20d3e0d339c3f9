import type { JobRef, Slots } from "../job.ts";
import type { CoordinatorFrame, WorkerPayload } from "../protocol.ts";
import type { Connection } from "./connection.ts";
import { tellCredits } from "./credits.ts";
import type { JobInFlight, Offer } from "./job-in-flight.ts";
import { type JobResult, tooLarge } from "./job-result.ts";
import type { Outbox } from "./outbox.ts";

export interface JobLinkOptions {
  connection: Connection;
  leaseMs: number;
  jobs: ReadonlyMap<string, JobInFlight>;
  outbox: Outbox;
  slotsFree: () => Slots;
}

/** What one session says of jobs. All of it is lost with its socket, and nothing but it. */
export interface JobLink {
  accept(offer: Offer): void;
  send(payload: WorkerPayload): void;
  /** Tells credits, sends chunks that wait and results that were not acknowledged. */
  begin(): void;
  /** Credits may have changed. */
  slotsChanged(): void;
  /** Sends what the ring holds, as far as the socket keeps up; the promise settles when it has caught up, or is gone. */
  sendChunks(job: JobInFlight): Promise<void> | null;
  /** Nothing where it is not to be sent yet, or no more. */
  sendResult(result: JobResult): void;
  /** Sends all that the ring holds: the last chunks go before the result. */
  flushChunks(job: JobInFlight): void;
  /** The jobs of a beat; it renews their leases once it is acknowledged. */
  beat(n: number): JobRef[];
  acknowledge(ack: Extract<CoordinatorFrame, { t: "beat.ack" }>): void;
  stop(): void;
}

export function openJobLink({ connection, leaseMs, jobs, outbox, slotsFree }: JobLinkOptions): JobLink {
  const credits = tellCredits(slotsFree, (credit) => connection.send(credit));
  /** Jobs whose chunks wait for the socket. */
  const waiting = new Map<JobInFlight, Promise<void>>();
  /** When the beats went out that were not acknowledged yet. A lease counts from there: the coordinator's ends later. */
  const sentAt = new Map<number, number>();
  /** Since which beat the coordinator hears of this attempt. */
  const listed = new Map<JobInFlight, { attempt: number; since: number }>();
  let stopped = false;

  const sendNext = ({ jobId, attempt, ring }: JobInFlight): boolean => {
    const chunk = ring.take();
    if (!chunk) return false;
    if (connection.send({ t: "job.chunk", jobId, attempt, ...chunk }) === "too large") ring.close();
    return true;
  };
  const sendChunks = (job: JobInFlight): Promise<void> | null => {
    const turn = waiting.get(job);
    if (turn) return turn;
    for (;;) {
      const congestion = connection.congestion();
      if (congestion) {
        const next = congestion.then(() => {
          waiting.delete(job);
          return stopped ? undefined : (sendChunks(job) ?? undefined);
        });
        waiting.set(job, next);
        return next;
      }
      if (!sendNext(job)) return null;
    }
  };
  const sendResult = (result: JobResult) => {
    if (!outbox.waits(result)) return;
    if (connection.send(result.text) === "too large") connection.send(tooLarge(result, connection.maxFrame).text);
  };
  const sendResults = async () => {
    for (const result of [...outbox.waiting.values()]) {
      await connection.congestion();
      if (stopped) return;
      sendResult(result);
    }
  };
  const heardOf = (job: JobInFlight, n: number) => {
    const entry = listed.get(job);
    return entry !== undefined && entry.attempt === job.attempt && entry.since <= n;
  };
  return {
    send: (payload) => void connection.send(payload),
    accept({ jobId, attempt, kind }) {
      connection.send({ t: "job.accept", jobId, attempt });
      credits.accepted(kind);
    },
    begin() {
      credits.changed();
      for (const job of jobs.values()) sendChunks(job);
      void sendResults();
    },
    slotsChanged: credits.changed,
    sendChunks,
    sendResult,
    flushChunks(job) {
      while (sendNext(job));
    },
    beat(n) {
      sentAt.set(n, performance.now());
      const held = [...jobs.values()].filter(({ abandoned }) => !abandoned);
      for (const job of held) {
        if (listed.get(job)?.attempt !== job.attempt) listed.set(job, { attempt: job.attempt, since: n });
      }
      for (const job of listed.keys()) if (jobs.get(job.jobId) !== job) listed.delete(job);
      return held.map(({ jobId, attempt }) => ({ jobId, attempt }));
    },
    acknowledge({ n, lost }) {
      const at = sentAt.get(n);
      for (const job of jobs.values()) {
        if (!heardOf(job, n)) continue;
        if (lost.includes(job.jobId)) job.abandon("the coordinator says so");
        else if (at !== undefined) job.renew(at, leaseMs);
      }
      if (at === undefined) return;
      for (const earlier of sentAt.keys()) if (earlier <= n) sentAt.delete(earlier);
    },
    stop() {
      stopped = true;
      credits.stop();
    },
  };
}
