import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import type { ProcessIdentity } from "../../src/process-identity.ts";
import { encodeResult } from "../../src/register/job-result.ts";
import { type Outbox, openOutbox } from "../../src/register/outbox.ts";
import { mountTmpfs } from "../store/mount.ts";
import { temporaryFolder } from "../store/temporary-folder.ts";
import { until } from "../until.ts";
import { startJobCoordinator } from "./job-coordinator.ts";
import { keptLog, quietLog } from "./worker.ts";

/** Ran under another kernel; what it left is anybody's. */
const GONE: ProcessIdentity = { boot: "gone", namespace: "pid:[1]", pid: 1, start: "1" };

const open = (folder: string, owner: ProcessIdentity | undefined = GONE) =>
  openOutbox({ folder, log: quietLog, owner });
const result = (jobId: string, attempt = 1, output: unknown = "fine") =>
  encodeResult({ jobId, attempt }, { status: "done", output });
const told = ({ waiting }: Outbox) => [...waiting.values()].map(({ jobId, attempt }) => `${jobId}/${attempt}`);
/** What the next process finds. */
const left = async (folder: string) => {
  const outbox = await open(folder);
  await outbox.close();
  return told(outbox);
};
const journals = (folder: string) => readdirSync(folder).map((name) => join(folder, name));

test("results wait over restarts until they are acknowledged", async () => {
  const folder = join(temporaryFolder(), "outbox");
  const first = await open(folder);
  for (const jobId of ["a", "b", "c"]) await first.put(result(jobId, 1, { text: "\u2028\n\r", __proto__: 1 }));
  first.remove({ jobId: "b", attempt: 1 });
  first.remove({ jobId: "c", attempt: 2 });
  await first.close();
  const second = await open(folder);
  expect(told(second)).toEqual(["a/1", "c/1"]);
  expect(second.waiting.get("a")).toEqual(first.waiting.get("a"));
  expect(journals(folder)).toHaveLength(1);
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  expect(statSync(journals(folder)[0]!).mode & 0o777).toBe(0o600);
  await second.put(result("a", 2));
  await second.close();
  const third = await open(folder);
  expect(told(third).toSorted()).toEqual(["a/2", "c/1"]);
  for (const ref of third.waiting.values()) third.remove(ref);
  await third.close();
  expect(journals(folder)).toEqual([]);
});

test("a result waits until another takes its place, or it is acknowledged", async () => {
  const outbox = await open(temporaryFolder());
  const [first, second] = [result("a"), result("a", 2)];
  const kept = outbox.put(first);
  expect([outbox.waiting.get("a"), outbox.waits(first)]).toEqual([first, true]);
  await kept;
  await outbox.put(second);
  expect([outbox.waits(first), outbox.waits(second)]).toEqual([false, true]);
  outbox.remove(second);
  expect(outbox.waits(second)).toBe(false);
  await outbox.close();
});

test("a result that is acknowledged before the disk was asked to keep it is not written at all", async () => {
  const folder = temporaryFolder();
  const outbox = await open(folder);
  await outbox.put(result("first"));
  const busy = outbox.put(result("second"));
  // While the disk has the one before.
  const kept = outbox.put(result("third"));
  outbox.remove({ jobId: "third", attempt: 1 });
  await Promise.all([busy, kept]);
  await outbox.close();
  const text = journals(folder).map((path) => readFileSync(path, "utf8"));
  expect(text.join()).toContain("second");
  expect(text.join()).not.toContain("third");
  expect(await left(folder)).toEqual(["first/1", "second/1"]);
});

test("a line that a kill tore, and what is no journal, are left out", async () => {
  const folder = temporaryFolder();
  const first = await open(folder);
  await first.put(result("a"));
  await first.close();
  const [journal] = journals(folder);
  appendFileSync(journal!, `nonsense\n{"t":"pause"}\n${result("b").text.slice(0, -3)}`);
  writeFileSync(join(folder, "notes.jsonl"), "who knows\n");
  const second = await open(folder);
  expect(told(second)).toEqual(["a/1"]);
  expect(journals(folder)).toContain(join(folder, "notes.jsonl"));
  await second.close();
});

test("what a running agent has written is left alone by another on the same folder", async () => {
  const folder = temporaryFolder();
  const first = await openOutbox({ folder, log: quietLog });
  await first.put(result("a"));
  const before = journals(folder).map((path) => readFileSync(path, "utf8"));
  const second = await openOutbox({ folder, log: quietLog });
  expect(told(second)).toEqual([]);
  await second.put(result("b"));
  await second.close();
  expect(journals(folder).map((path) => readFileSync(path, "utf8"))).toEqual(expect.arrayContaining(before));
  await first.put(result("c"));
  expect(told(first)).toEqual(["a/1", "c/1"]);
  await first.close();
});

test("the journal does not grow with what was acknowledged", async () => {
  const folder = temporaryFolder();
  const outbox = await open(folder);
  const text = "x".repeat(10_000);
  await outbox.put(result("kept", 1, text));
  for (let n = 0; n < 200; n += 1) {
    await outbox.put(result(`job-${n}`, 1, text));
    outbox.remove({ jobId: `job-${n}`, attempt: 1 });
  }
  await outbox.close();
  expect(statSync(journals(folder)[0]!).size).toBeLessThan(400_000);
  expect(await left(folder)).toEqual(["kept/1"]);
});

test("results that come together are written together", async () => {
  const folder = temporaryFolder();
  const outbox = await open(folder);
  const many = Array.from({ length: 500 }, (_, n) => outbox.put(result(`job-${n}`)));
  await Promise.all(many);
  await outbox.close();
  expect(await left(folder)).toHaveLength(500);
});

test("a full disk loses nothing of the running process, and is caught up with", async ({ skip }) => {
  const folder = mountTmpfs(1 << 20, skip);
  const { log, lines } = keptLog();
  const filler = join(folder, "filler");
  const outbox = await openOutbox({ folder, log, owner: GONE });
  await outbox.put(result("a"));
  writeFileSync(filler, "");
  const fill = () => {
    for (;;) appendFileSync(filler, "x".repeat(4096));
  };
  expect(fill).toThrow("ENOSPC");
  for (const jobId of ["b", "c"]) {
    const large = result(jobId, 1, "x".repeat(50_000));
    await outbox.put(large);
    expect(outbox.waits(large)).toBe(true);
  }
  expect(lines.filter(({ level }) => level === 40)).toMatchObject([{ code: "ENOSPC" }]);
  rmSync(filler);
  await outbox.put(result("d"));
  expect(lines.at(-1)).toMatchObject({ level: 30 });
  await outbox.close();
  expect(await left(folder)).toEqual(["a/1", "b/1", "c/1", "d/1"]);
});

test("where the folder cannot be made, results are kept in memory", async () => {
  const file = join(temporaryFolder(), "file");
  writeFileSync(file, "");
  const { log, lines } = keptLog();
  const outbox = await openOutbox({ folder: join(file, "outbox"), log });
  await outbox.put(result("a"));
  expect(told(outbox)).toEqual(["a/1"]);
  expect(lines.some(({ level, code }) => level === 40 && code === "ENOTDIR")).toBe(true);
  await outbox.close();
});

const jobIds = fc.constantFrom("a", "b", "__proto__");
const steps = fc.array(
  fc.oneof(
    fc.record({ put: jobIds, attempt: fc.nat(3), output: fc.jsonValue() }),
    fc.record({ remove: jobIds }),
    fc.record({ restart: fc.nat(60) }),
  ),
  { maxLength: 25 },
);

test("whatever was put and not removed is there after any restart, torn lines or not", async () => {
  const run = async (script: typeof steps extends fc.Arbitrary<infer T> ? T : never) => {
    const folder = temporaryFolder();
    let outbox = await open(folder);
    const model = new Map<string, string>();
    for (const step of script) {
      if ("put" in step) {
        const attempt = Math.max(step.attempt, outbox.waiting.get(step.put)?.attempt ?? 0);
        const made = result(step.put, attempt, step.output);
        await outbox.put(made);
        model.set(step.put, made.text);
      } else if ("remove" in step) {
        const held = outbox.waiting.get(step.remove);
        if (held) outbox.remove(held);
        model.delete(step.remove);
      } else {
        await outbox.close();
        const torn = result("torn", 1, "x".repeat(100)).text.slice(0, step.restart);
        for (const journal of journals(folder)) appendFileSync(journal, torn);
        outbox = await open(folder);
      }
      expect(new Map([...outbox.waiting].map(([jobId, { text }]) => [jobId, text]))).toEqual(model);
    }
    await outbox.close();
  };
  await fc.assert(fc.asyncProperty(steps, run), { numRuns: 100 });
});

/** A real worker on this outbox. */
function startProcess(url: string, folder: string) {
  const fixture = join(import.meta.dirname, "fixtures", "worker-process.ts");
  const child = spawn(process.execPath, [fixture, url, folder], { stdio: ["pipe", "inherit", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  return { child, exited: once(child, "exit") };
}

test("kill -9 between a result and its acknowledgement: the next process sends it again", async () => {
  const folder = temporaryFolder();
  await using peer = await startJobCoordinator();
  const first = startProcess(peer.url, folder);
  const session = await peer.session(1);
  session.offer({ input: "the answer" });
  const sent = await session.nth("job.result");
  await until("it is on the disk", () => readFileSync(journals(folder)[0]!, "utf8").includes('"the answer"'));
  first.child.kill("SIGKILL");
  await first.exited;

  const second = startProcess(peer.url, folder);
  const next = await peer.session(2);
  expect(next.hello).toMatchObject({ jobs: [], results: [{ jobId: "job-1", attempt: 1 }] });
  const again = await next.nth("job.result");
  expect({ ...again, id: "", ts: "" }).toEqual({ ...sent, id: "", ts: "" });
  next.send({ t: "result.ack", jobId: "job-1", attempt: 1 });
  // Answered in order: by now it has the acknowledgement, too.
  next.offer({ jobId: "job-2" });
  await next.nth("job.result", 1, "job-2");
  next.send({ t: "result.ack", jobId: "job-2", attempt: 1 });
  next.send({ t: "reconnect" });
  expect((await peer.session(3)).hello.results).toEqual([]);
  second.child.stdin.end();
  await second.exited;
  await until("nothing is left", () => journals(folder).length === 0);
});
