import { toMusterError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { Backend, BackendParts, OpenBackend } from "../backend.ts";
import { Admission } from "../jobs/admission.ts";
import { Assignments } from "../jobs/assignments.ts";
import { Attempts } from "../jobs/attempts.ts";
import { Fleet } from "../jobs/fleet.ts";
import { JobQueue, type QueuedJob } from "../jobs/job-queue.ts";
import type { JobRecord } from "../jobs/job-record.ts";
import { Matcher } from "../jobs/matcher.ts";
import { Turns } from "../jobs/turns.ts";
import { WorkerDesk } from "../jobs/worker-desk.ts";
import { timed } from "../metrics/timed-store.ts";
import { isUnavailable } from "../stores/unavailable.ts";
import { Evictions } from "../workers/evictions.ts";
import { Backlog } from "./backlog.ts";
import { listen } from "./bus.ts";
import type { JobEntry } from "./job-entry.ts";
import { openLayout } from "./layout.ts";
import { type NatsLink, type NatsOptions, openLink } from "./link.ts";
import { NatsDesk } from "./nats-desk.ts";
import { NatsJobs } from "./nats-jobs.ts";
import { NatsStore } from "./nats-store.ts";
import { Presence } from "./presence.ts";
import { PulledJobs } from "./pulled-jobs.ts";
import { SharedFollowers } from "./shared-followers.ts";
import { SharedWorkers } from "./shared-workers.ts";
import { Waiting } from "./waiting.ts";

/** One gateway of several that share a NATS server or cluster. */
export function natsBackend(options: NatsOptions): OpenBackend {
  return async (parts) => {
    const begunAt = performance.now();
    for (;;) {
      try {
        return await begin(options, parts);
      } catch (error) {
        if (!isUnavailable(error) || performance.now() - begunAt > START_MS) throw error;
        parts.log.warn(toMusterError(error).message);
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  };
}

/** How long a gateway waits for NATS, which may be starting too, before it ends. */
const START_MS = 60_000;
const AGAIN_MS = 1_000;

async function begin(options: NatsOptions, parts: BackendParts): Promise<Backend> {
  const link = await openLink(options, parts.log);
  try {
    return await openGateway(link, parts);
  } catch (error) {
    await link.close();
    throw error;
  }
}

async function openGateway(link: NatsLink, parts: BackendParts): Promise<Backend> {
  const { registry, boundsOf, maxQueue, leaseMs, graceMs, log, jobChanged, workerChanged, tally } = parts;
  const gateway = crypto.randomUUID();
  const layout = await openLayout(link, parts);
  const [turns, queue, fleet] = [new Turns(), new JobQueue(), new Fleet()];
  const assignments = new Assignments(leaseMs + graceMs);
  const about = { link, layout, gateway, log };
  const presence: Presence = await Presence.open({
    ...{ ...about, ...parts },
    held: () => assignments.countByKind(),
    onGone: () => void jobs.recover(),
  });
  const workers = new SharedWorkers({ ...about, registry, presence, leaseMs, graceMs, workerChanged });
  const evictions = new Evictions({ count: () => workers.silent(), leaseMs, graceMs, log });
  const backlog: Backlog = new Backlog({
    ...about,
    ackWaitMs: leaseMs + graceMs,
    lanes: () => fleet.openLanes(),
    roomFor: (lane, kind) => fleet.roomFor(lane, kind),
    mayPull: () => link.isUp() && presence.mayPromise(),
    take: (delivery) => pulled.take(delivery),
  });
  const store = new NatsStore({
    ...about,
    ackOf: (jobId) => backlog.ackOf(jobId),
    onEnded(entry) {
      backlog.ended(entry);
      void bury(link, entry, log);
    },
  });
  Object.assign(store, timed(store, tally));
  const followers: SharedFollowers = new SharedFollowers({
    ...about,
    onRoom: (jobId) => desk.acknowledgeHeld(jobId),
    ended: (jobId) => store.ended(jobId),
  });
  const waiting = new Waiting(link, log);
  const admission = new Admission({
    ...{ maxQueue, boundsOf },
    size: () => waiting.size,
    sizeOf: (client) => waiting.sizeOf(client),
  });
  const matcher = new Matcher({
    ...{ queue, fleet },
    mayRun: (client) => assignments.countOf(client) < (boundsOf(client).concurrent ?? Number.POSITIVE_INFINITY),
    offer(job, workerId) {
      attempts.offer(job, workerId);
      pulled.offered(job.id);
    },
  });
  /** The queue here is only what was pulled: what comes back is for all gateways. */
  const allQueues = {
    lanes: (client?: string | null) => queue.lanes(client),
    remove: (id: string) => queue.remove(id),
    add(job: QueuedJob) {
      backlog.putBack(job.id);
      backlog.announce(job);
    },
  };
  const shared = { link, log, tally, store, turns, assignments, followers, matcher, presence, backlog, gateway };
  const attempts = new Attempts({
    ...{ ...shared, workers: registry, boundsOf, fleet, admission, queue: allQueues },
    onChange: jobChanged,
    isOurs: async (jobId) => (await store.entry(jobId))?.holder === gateway,
  });
  const desk = new WorkerDesk({
    ...{ ...shared, workers: registry, fleet, attempts },
    isOpen: () => !link.connection.isClosed(),
  });
  const pulled: PulledJobs = new PulledJobs({ ...shared, queue, attempts, evictions });
  const jobs: NatsJobs = new NatsJobs({ ...shared, admission, attempts, waiting, jobChanged });
  const natsDesk = new NatsDesk({ ...shared, desk, attempts, workers });
  listen<string>(link, link.names.everyone("work"), (hint) => backlog.hear(hint));
  // Whoever has not been heard of by then is gone.
  const recovery = setTimeout(() => void jobs.recover(), leaseMs + graceMs + 1_000).unref();
  return {
    ...{ jobs, desk: natsDesk, workers, store },
    trouble: () => (link.isUp() && presence.mayPromise() ? null : "NATS is away"),
    isConnected: () => link.isUp(),
    evictionsAreFrozen: () => evictions.areFrozen,
    sweep() {
      presence.sweep();
      evictions.sweep();
      if (presence.mayPromise() && !evictions.areFrozen) desk.sweep();
      if (!evictions.areFrozen) workers.sweep();
      followers.sweep();
      backlog.sweep();
      pulled.sweep();
      jobs.sweep();
      waiting.sweep(boundsOf);
    },
    async close() {
      clearTimeout(recovery);
      matcher.close();
      backlog.close();
      pulled.close();
      followers.close();
      await Promise.race([turns.idle(), new Promise((resolve) => setTimeout(resolve, CLOSE_MS).unref())]);
      workers.close();
      await presence.close();
      await store.close();
      await link.close();
    },
  };
}

/** How long changes that NATS does not take may hold up the end. */
const CLOSE_MS = 5_000;
const LETTER_TRIES = 10;

/** Jobs that were tried and given up, for whoever looks after them. */
async function bury(link: NatsLink, { job }: JobEntry, log: Logger): Promise<void> {
  if (job.state !== "failed" || job.attempt === 0) return;
  const letter: Partial<JobRecord> = { ...job, input: undefined };
  const write = () => link.js.publish(link.names.dead(job), JSON.stringify(letter), { msgID: job.id });
  for (let left = LETTER_TRIES; left > 0; left -= 1) {
    const isWritten = await link.ask(write).then(
      () => true,
      () => false,
    );
    if (isWritten || link.connection.isClosed()) return;
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS).unref());
  }
  log.warn({ jobId: job.id }, "A job failed for good, and the dead letter of it could not be written");
}
