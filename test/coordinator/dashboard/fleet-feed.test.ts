import { expect, test } from "vitest";
import type { FleetChange, FleetHello } from "../../../src/coordinator/dashboard/fleet-events.ts";
import { FleetFeed } from "../../../src/coordinator/dashboard/fleet-feed.ts";
import { FleetHistory } from "../../../src/coordinator/dashboard/fleet-history.ts";
import type { Sink } from "../../../src/coordinator/dashboard/watcher.ts";
import { newJob } from "../../../src/coordinator/jobs/new-job.ts";
import { createWorkerRegistry } from "../../../src/coordinator/workers/worker-registry.ts";
import { quietLog } from "../../register/worker.ts";
import { until } from "../../until.ts";
import { beat, hello } from "../raw-worker.ts";

/** A feed over a registry, and how often each worker was looked at. */
function setUp({ leaseMs = 60_000 } = {}) {
  const history = new FleetHistory();
  const { workerChanged: onChange, workerLost: onLost } = history;
  const registry = createWorkerRegistry({ leaseMs, graceMs: 0, log: quietLog, onChange, onLost });
  let looks = 0;
  const feed = new FleetFeed({
    ...{ version: "1.2.3", history },
    registry: {
      list: () => registry.list(),
      get(id) {
        looks += 1;
        return registry.get(id);
      },
    },
    jobs: {
      counts: () => ({ queued: 2, assigned: 1 }),
      waiting: () => ({ byKind: { ocr: 2 }, oldestAt: null }),
      list: async () => [],
    },
  });
  const join = (workerId: string) =>
    registry.join(hello({ workerId }), { send: () => true, supersede: () => undefined, drop: () => undefined })!;
  return { history, registry, feed, join, looks: () => looks };
}

/** Somebody who watches; `full` stops them reading. */
function watcher() {
  const events: { event: string; data: FleetChange & Partial<Omit<FleetHello, "workers">> }[] = [];
  const calls: Record<string, () => void> = {};
  const state = { full: false, writes: 0 };
  const sink: Sink = {
    write(text) {
      state.writes += 1;
      const [, event, data] = /^event: (\w+)\ndata: (.*)\n\n$/.exec(text) ?? [];
      if (event) events.push({ event, data: JSON.parse(data!) });
    },
    isFull: () => state.full,
    onRoom: (then) => Object.assign(calls, { room: then }),
    onEnd: (then) => Object.assign(calls, { end: then }),
  };
  const workers = () => events.flatMap(({ event, data }) => (event === "change" ? (data.workers ?? []) : []));
  return {
    ...{ sink, events, state, workers },
    leave: () => calls.end!(),
    read() {
      state.full = false;
      calls.room!();
    },
  };
}

test("tells all there is, and then what changes", async () => {
  const { feed, join } = setUp();
  const first = join("a");
  const one = watcher();
  await feed.watch(one.sink);
  expect(one.events.map(({ event }) => event)).toEqual(["hello", "change", "complete"]);
  expect(one.events[0]!.data).toMatchObject({ version: "1.2.3", workers: 1, lost: [] });
  expect(one.events[1]!.data).toMatchObject({
    workers: [{ id: "a", ready: false }],
    counts: { queued: 2, assigned: 1, queuedByKind: { ocr: 2 } },
  });
  first.beat(beat(1));
  join("b");
  await until("both are told", () => one.workers().length === 3);
  expect(one.workers().slice(1)).toMatchObject([
    { id: "a", ready: true, state: "ready" },
    { id: "b", ready: false },
  ]);
  one.leave();
});

test("beats that bring nothing new are not told", async () => {
  const { feed, join, looks } = setUp();
  const member = join("a");
  member.beat(beat(1));
  const one = watcher();
  await feed.watch(one.sink);
  for (let n = 2; n < 50; n += 1) member.beat(beat(n, { loopLagMs: n, diskFreeBytes: n }));
  await until("it was looked at again", () => looks() > 1);
  join("b");
  await until("the other one is told", () => one.workers().some(({ id }) => id === "b"));
  expect(one.workers().map(({ id }) => id)).toEqual(["a", "b"]);
  one.leave();
});

test("nothing is computed while nobody watches", async () => {
  const { feed, join, looks, history } = setUp();
  const member = join("a");
  for (let n = 1; n < 50; n += 1) member.beat(beat(n));
  expect(history.listener).toBeNull();
  const one = watcher();
  await feed.watch(one.sink);
  expect(feed.watchers).toBe(1);
  one.leave();
  expect(feed.watchers).toBe(0);
  expect(history.listener).toBeNull();
  const before = one.state.writes;
  member.beat(beat(50, { ready: false }));
  const other = watcher();
  await feed.watch(other.sink);
  expect(other.workers()).toMatchObject([{ id: "a", ready: false }]);
  // Once for each of the two who came, and never in between.
  expect([looks(), one.state.writes]).toEqual([2, before]);
  other.leave();
});

test("who reads slowly gets the newest state once, and holds nobody up", async () => {
  const { feed, join } = setUp();
  const member = join("a");
  const [slow, quick] = [watcher(), watcher()];
  await feed.watch(slow.sink);
  await feed.watch(quick.sink);
  slow.state.full = true;
  for (const [n, state] of (["syncing", "paused", "ready"] as const).entries()) {
    member.beat(beat(n, { state, ready: state === "ready" }));
    await until(`${state} is told`, () => quick.workers().at(-1)?.state === state);
  }
  expect(slow.workers().map(({ state }) => state)).toEqual(["starting"]);
  slow.read();
  expect(slow.workers().map(({ state }) => state)).toEqual(["starting", "ready"]);
  slow.leave();
  quick.leave();
});

test("a large fleet comes in pieces, as fast as it is read", async () => {
  const { feed, join } = setUp();
  for (let index = 0; index < 1_200; index += 1) join(`worker-${index}`);
  const one = watcher();
  one.state.full = true;
  await feed.watch(one.sink);
  expect(one.events.map(({ event }) => event)).toEqual(["hello"]);
  one.read();
  expect(one.events.map(({ event }) => event)).toEqual(["hello", "change", "change", "change", "complete"]);
  expect(new Set(one.workers().map(({ id }) => id)).size).toBe(1_200);
  one.leave();
});

test("workers that leave, and those that are lost", async () => {
  const { feed, join, registry } = setUp({ leaseMs: 0 });
  const [polite, gone] = [join("polite"), join("gone")];
  const one = watcher();
  await feed.watch(one.sink);
  polite.bye();
  polite.leave();
  gone.leave();
  await until("its lease is over", () => {
    registry.sweep({ mayForget: true });
    return registry.list().length === 0;
  });
  const told = () => one.events.flatMap(({ data }) => data.gone ?? []).toSorted();
  await until("both are gone", () => told().length === 2);
  expect(told()).toEqual(["gone", "polite"]);
  expect(one.events.flatMap(({ event, data }) => (event === "change" ? (data.lost ?? []) : []))).toMatchObject([
    { id: "gone", type: "chat" },
  ]);
  one.leave();
  const later = watcher();
  await feed.watch(later.sink);
  expect(later.events[0]!.data.lost).toMatchObject([{ id: "gone" }]);
  later.leave();
});

test("jobs are told without what is in them, and counted while nobody watches", async () => {
  const { feed, history } = setUp();
  const secret = "what somebody asked";
  const job = newJob({ kind: "chat", model: "m", input: { secret }, client: "search" }, false);
  const error = { code: "ENGINE_DOWN" as const, message: secret, retryable: true };
  const failed = { ...job, state: "failed" as const, outcome: { status: "failed" as const, error, output: secret } };
  history.jobChanged(failed);
  const one = watcher();
  await feed.watch(one.sink);
  expect(one.events[1]!.data.throughput?.at(-1)).toEqual([0, 1, 0]);
  history.jobChanged({ ...failed, finishedAt: job.createdAt + 5 });
  const jobs = () => one.events.flatMap(({ data }) => data.jobs ?? []);
  await until("it is told", () => jobs().length);
  expect(jobs()).toEqual([
    {
      ...{ id: job.id, kind: "chat", model: "m", state: "failed", attempt: 0, workerId: null, client: "search" },
      ...{ createdAt: job.createdAt, finishedAt: job.createdAt + 5, errorCode: "ENGINE_DOWN" },
    },
  ]);
  expect(JSON.stringify(one.events)).not.toContain(secret);
  one.leave();
});
