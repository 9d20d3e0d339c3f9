import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isFinal, type JobRecord } from "../../../src/coordinator/jobs/job-record.ts";
import type { JobStore } from "../../../src/coordinator/stores/job-store.ts";
import { openMemoryStore } from "../../../src/coordinator/stores/memory.ts";
import { openSqliteStore } from "../../../src/coordinator/stores/sqlite.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "muster-stores-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function job(id: string, change: Partial<JobRecord> = {}): JobRecord {
  return {
    ...{
      id,
      kind: "chat",
      model: "llama",
      input: { messages: [{ role: "user", content: "grüß dich" }] },
      stream: true,
    },
    ...{ retrySafe: false, maxAttempts: 3, createdAt: 1, deadlineAt: 2, state: "queued", attempt: 0, failures: 0 },
    ...{ workerId: null, outcome: null, finishedAt: null },
    ...change,
  };
}

const DONE = { status: "done", output: { text: "hello" }, usage: { total_tokens: 3 } } as const;

const stores: [string, () => JobStore][] = [
  ["memory", openMemoryStore],
  ["sqlite", () => openSqliteStore(join(folder, "jobs.db"))],
];

describe.each(stores)("the %s store", (_name, open) => {
  it("keeps a job as it came, once", () => {
    const store = open();
    expect(store.insert(job("a"))).toBe(true);
    expect(store.insert(job("a", { model: "other" }))).toBe(false);
    expect(store.get("a")).toEqual(job("a"));
    expect(store.get("b")).toBeNull();
    store.close();
  });

  it("lists what has not ended in the order in which it came", () => {
    const store = open();
    for (const id of ["c", "a", "b"]) store.insert(job(id));
    store.assign("a", "w");
    store.commit("c", 0, { status: "cancelled" });
    expect(store.unfinished().map(({ id, state }) => [id, state])).toEqual([
      ["a", "assigned"],
      ["b", "queued"],
    ]);
    store.close();
  });

  it("ends a job once, by its newest attempt", () => {
    const store = open();
    store.insert(job("a"));
    expect(store.assign("a", "w1")).toMatchObject({ state: "assigned", attempt: 1, workerId: "w1" });
    expect(store.assign("a", "w2")).toBeNull();
    expect(store.release("a", 1, { failed: true })).toBe(true);
    expect(store.release("a", 1, { failed: true })).toBe(false);
    expect(store.assign("a", "w2")).toMatchObject({ attempt: 2, workerId: "w2" });
    expect(store.commit("a", 1, DONE)).toBe(false);
    expect(store.commit("a", 2, DONE)).toBe(true);
    expect(store.commit("a", 2, { status: "failed" })).toBe(false);
    expect(store.release("a", 2, { failed: false })).toBe(false);
    expect(store.get("a")).toMatchObject({ state: "done", outcome: DONE, workerId: null, attempt: 2, failures: 1 });
    expect(store.get("a")?.finishedAt).toBeGreaterThan(0);
    store.close();
  });

  it("ends each job once, whatever is done in whatever order", () => {
    const step = fc.record({
      what: fc.constantFrom("insert", "assign", "release", "commit"),
      id: fc.constantFrom("a", "b"),
      attempt: fc.nat(4),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        rmSync(join(folder, "jobs.db"), { force: true });
        const store = open();
        const ended = new Map<string, number>();
        for (const { what, id, attempt } of steps) {
          const before = store.get(id);
          if (what === "insert") store.insert(job(id));
          else if (what === "assign") {
            const assigned = store.assign(id, "w");
            expect(assigned !== null).toBe(before?.state === "queued");
            if (assigned) expect(assigned.attempt).toBe(before!.attempt + 1);
          } else if (what === "release") {
            expect(store.release(id, attempt, { failed: false })).toBe(
              before?.state === "assigned" && before.attempt === attempt,
            );
          } else if (store.commit(id, attempt, DONE)) {
            expect(before?.attempt).toBe(attempt);
            ended.set(id, (ended.get(id) ?? 0) + 1);
          }
        }
        for (const id of ["a", "b"]) {
          const found = store.get(id);
          expect(ended.get(id) ?? 0).toBe(found && isFinal(found.state) ? 1 : 0);
        }
        store.close();
      }),
      { numRuns: 60 },
    );
  });
});

it("what the sqlite store has said outlives a kill", async () => {
  const path = join(folder, "jobs.db");
  const program = `
    const { openSqliteStore } = await import(${JSON.stringify(join(import.meta.dirname, "../../../src/coordinator/stores/sqlite.ts"))});
    const store = openSqliteStore(${JSON.stringify(path)});
    for (let n = 0; ; n += 1) {
      const id = "job-" + n;
      store.insert({ ...${JSON.stringify(job("x"))}, id });
      store.assign(id, "w");
      if (n % 2) store.commit(id, 1, { status: "done", output: n });
      process.stdout.write(n + "\\n");
    }`;
  const writer = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  writer.stdout.setEncoding("utf8").on("data", (text: string) => {
    said += text;
    if (said.split("\n").length > 40) writer.kill("SIGKILL");
  });
  await once(writer, "close");
  const last = said.trimEnd().split("\n").length - 1;
  const store = openSqliteStore(path);
  for (let n = 0; n <= last; n += 1) {
    expect(store.get(`job-${n}`)).toMatchObject(
      n % 2 ? { state: "done", outcome: { output: n } } : { state: "assigned" },
    );
  }
  store.close();
});
