import { beforeEach, expect, test } from "vitest";
import type { CoordinatorOptions } from "../../../src/coordinator/coordinator.ts";
import { natsBackend } from "../../../src/coordinator/nats/open-nats.ts";
import { keptLog } from "../../register/worker.ts";
import { until } from "../../until.ts";
import { CHAT, joinRaw, startRawCoordinator } from "../raw-fleet.ts";
import { beat } from "../raw-worker.ts";
import { type NatsServer, startNatsServer, withoutNats } from "./nats-server.ts";

beforeEach(({ skip }) => skip(withoutNats, "nats-server is not installed"));

const TERMS = { beatMs: 100, leaseMs: 600, graceMs: 600 };
const LEASE_AND_GRACE = TERMS.leaseMs + TERMS.graceMs;

const MANY = Array.from({ length: 10 }, (_, n) => `w${n}`);

function startGateway(server: NatsServer, prefix: string, options: Partial<CoordinatorOptions> = {}) {
  return startRawCoordinator({ backend: natsBackend(server.options({ prefix })), ...TERMS, ...options });
}

type Raw = Awaited<ReturnType<typeof joinRaw>>;

/** Workers that beat until they are disposed, each with the jobs it was offered. */
function keepBeating(workers: () => Raw[]): Disposable {
  let n = 1;
  const timer = setInterval(() => {
    n += 1;
    for (const worker of workers()) {
      const jobs = worker.all("job.offer").map(({ jobId, attempt }) => ({ jobId, attempt }));
      worker.send(beat(n, { jobs }));
    }
  }, 100);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

test("workers that are lost with their gateway in a mass keep their jobs, and come back with them", async () => {
  await using server = await startNatsServer();
  const { prefix } = server.options();
  const { log, lines } = keptLog();
  await using stack = new AsyncDisposableStack();
  const a = await startGateway(server, prefix);
  await using b = await startGateway(server, prefix, { log });
  const beating: Raw[] = [];
  using _beats = keepBeating(() => beating);
  for (const workerId of MANY) beating.push(stack.use(await joinRaw(a.wsUrl, { workerId })));
  const jobs = new Map<string, string>();
  for (const workerId of MANY) {
    const { id } = await b.jobs.submit({ ...CHAT, id: `of-${workerId}` });
    const has = () => beating.findIndex((each) => each.all("job.offer").some(({ jobId }) => jobId === id));
    const at = await until("it is offered", () => has() + 1);
    jobs.set(MANY[at - 1]!, id);
  }
  expect(jobs.size).toBe(10);
  // Its host is cut off: nothing more is heard of it, or of its workers.
  beating.length = 0;
  await a.close();
  using other = await joinRaw(b.wsUrl, { workerId: "other", credit: 2 });
  beating.push(other);
  await until("it is said", () => lines.some(({ level, msg }) => level === 50 && /30 %/.test(msg)));
  const since = performance.now();
  await until("lease and grace are over twice", () => performance.now() - since > 2 * LEASE_AND_GRACE);
  expect(other.all("job.offer")).toEqual([]);
  expect(b.workers().length).toBe(11);

  // Eight come back, to the other gateway, and are done with what they have.
  for (const workerId of MANY.slice(0, 8)) {
    const jobId = jobs.get(workerId)!;
    const back = stack.use(
      await joinRaw(b.wsUrl, { workerId, credit: 0, jobs: [{ jobId, attempt: 1, lease: "l", cs: 0 }] }),
    );
    expect(back.all("welcome")[0]?.resume).toEqual([{ jobId, verdict: "keep", cs: 0 }]);
    beating.push(back);
    back.answer({ jobId, attempt: 1 }, "done");
  }
  // Two are few: theirs are others' now.
  for (const workerId of MANY.slice(8)) {
    const jobId = jobs.get(workerId)!;
    const offer = await until("it is another's", () => other.all("job.offer").find((each) => each.jobId === jobId));
    expect(offer.attempt).toBe(2);
    other.answer(offer, "done");
  }
  for (const id of jobs.values()) await until(`${id} is done`, async () => (await b.jobs.get(id))?.state === "done");
  expect(lines.some(({ msg }) => /Evictions go on/.test(msg))).toBe(true);
});

test("a loss of NATS, however long, costs nobody a worker that is still there", async () => {
  await using server = await startNatsServer();
  const { prefix } = server.options();
  const { log, lines } = keptLog();
  await using stack = new AsyncDisposableStack();
  // A slow machine may keep them from beating for a moment.
  const terms = { leaseMs: 2_500, graceMs: 1_000 };
  await using a = await startGateway(server, prefix, { log, ...terms });
  await using b = await startGateway(server, prefix, { log, ...terms });
  const beating: Raw[] = [];
  using _beats = keepBeating(() => beating);
  for (const [n, workerId] of MANY.entries())
    beating.push(stack.use(await joinRaw(n % 2 === 0 ? a.wsUrl : b.wsUrl, { workerId })));
  const all = () => a.workers().length === 10 && b.workers().length === 10;
  await until("both know all", all);
  await server.stop();
  const since = performance.now();
  await until("lease and grace are over twice", () => performance.now() - since > 2 * (terms.leaseMs + terms.graceMs));
  await server.start();
  await until("both are ready", async () => {
    const answers = await Promise.all([a, b].map(({ url }) => fetch(`${url}/readyz`)));
    return answers.every(({ status }) => status === 200);
  });
  const back = performance.now();
  await until("lease and grace are over again", () => performance.now() - back > terms.leaseMs + terms.graceMs);
  expect(all()).toBe(true);
  expect(lines.filter(({ msg }) => /30 %|forgotten/.test(msg))).toEqual([]);
});

test("a worker that is lost with its gateway is forgotten in the end", async () => {
  await using server = await startNatsServer();
  const { prefix } = server.options();
  const terms = { beatMs: 50, leaseMs: 200, graceMs: 200 };
  const a = await startGateway(server, prefix, terms);
  await using b = await startGateway(server, prefix, terms);
  using _worker = await joinRaw(a.wsUrl);
  await until("it is known", () => b.workers().length === 1);
  await a.close();
  await until("it is shown as away", () => b.workers()[0]?.connected === false);
  await until("it is forgotten", () => b.workers().length === 0);
});
