import { expect, test } from "vitest";
import { keptLog } from "../../register/worker.ts";
import { until } from "../../until.ts";
import { CHAT, joinRaw, startRawCoordinator } from "../raw-fleet.ts";
import { beat } from "../raw-worker.ts";

const TERMS = { beatMs: 50, leaseMs: 1_200, graceMs: 600 };

test("when many workers fall silent at once none is forgotten, and their jobs are left to them", async () => {
  const { log, lines } = keptLog();
  await using peer = await startRawCoordinator({ ...TERMS, log });
  await using stack = new AsyncDisposableStack();
  const workers = [];
  for (let n = 0; n < 10; n += 1) workers.push(stack.use(await joinRaw(peer.wsUrl, { workerId: `w${n}`, credit: 0 })));
  const [first, second, third, fourth, ...others] = workers;
  const silent = [first!, second!, third!, fourth!];
  const lost: string[] = [];
  for (const worker of silent) {
    worker.send({ t: "credit", kind: "chat", n: 1 });
    const { id } = await peer.jobs.submit(CHAT);
    lost.push(id);
    const offer = await worker.offer();
    worker.accept(offer);
    worker.send({ t: "credit", kind: "chat", n: 0 });
  }
  let n = 1;
  const beats = setInterval(() => {
    n += 1;
    for (const worker of others) worker.send(beat(n));
  }, 50);
  stack.defer(() => clearInterval(beats));
  for (const worker of silent) worker.socket.terminate();
  const silentSince = performance.now();
  await until("it is said", () => lines.some(({ level, msg }) => level === 50 && /30 %/.test(msg)));
  for (const worker of others) worker.send({ t: "credit", kind: "chat", n: 1 });
  const over = () => performance.now() - silentSince > 2 * (TERMS.leaseMs + TERMS.graceMs);
  await until("lease and grace are over twice", over);
  expect(peer.workers().length).toBe(10);
  expect(peer.jobs.counts()).toEqual({ queued: 0, assigned: 4 });
  expect(await (await fetch(`${peer.url}/metrics`)).text()).toContain("muster_coordinator_evictions_frozen 1\n");

  // One is back, so that three of ten are few enough: theirs are others' now.
  const jobs = [{ jobId: lost[0]!, attempt: 1, lease: "l", cs: 0 }];
  using back = await joinRaw(peer.wsUrl, { workerId: "w0", credit: 0, jobs });
  expect(back.all("welcome")[0]?.resume).toEqual([{ jobId: lost[0], verdict: "keep", cs: 0 }]);
  const again = () => others.flatMap((worker) => worker.all("job.offer"));
  await until("the others are offered again", () => again().length === 3);
  expect(
    again()
      .map(({ jobId, attempt }) => [jobId, attempt])
      .toSorted(),
  ).toEqual(
    lost
      .slice(1)
      .map((id) => [id, 2])
      .toSorted(),
  );
  await until("they are forgotten", () => peer.workers().length === 7);
  back.answer({ jobId: lost[0]!, attempt: 1 }, "done");
  await until("its result counts", async () => (await peer.jobs.get(lost[0]!))?.state === "done");
});

test("few that fall silent are forgotten in their time", async () => {
  await using peer = await startRawCoordinator({ ...TERMS, leaseMs: 100, graceMs: 100 });
  using worker = await joinRaw(peer.wsUrl);
  worker.socket.terminate();
  await until("it is forgotten", () => peer.workers().length === 0);
});
