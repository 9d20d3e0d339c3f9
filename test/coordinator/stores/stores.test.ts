import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { isFinal, type JobRecord } from "../../../src/coordinator/jobs/job-record.ts";
import type { JobFilter } from "../../../src/coordinator/jobs/jobs.ts";
import { openLayout } from "../../../src/coordinator/nats/layout.ts";
import { NatsStore } from "../../../src/coordinator/nats/nats-store.ts";
import { dayOf, type JobStore } from "../../../src/coordinator/stores/job-store.ts";
import { openMemoryStore } from "../../../src/coordinator/stores/memory.ts";
import { openSqliteStore } from "../../../src/coordinator/stores/sqlite.ts";
import { quietLog } from "../../register/worker.ts";
import { type NatsServer, startNatsServer, withoutNats } from "../nats/nats-server.ts";

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
    ...{ workerId: null, outcome: null, finishedAt: null, priority: 0, client: null, attended: false },
    ...{ keepInput: false, digest: "" },
    ...change,
  };
}

const DONE = { status: "done", output: { text: "hello" }, usage: { total_tokens: 3 } } as const;

let nats: NatsServer | null = null;
beforeAll(async () => {
  nats = withoutNats ? null : await startNatsServer();
});
afterAll(() => nats?.[Symbol.asyncDispose]());

async function openNatsStore(): Promise<JobStore> {
  const link = await nats!.link(`t${crypto.randomUUID().slice(0, 8)}`);
  const layout = await openLayout(link, { jobRetentionMs: 60_000, leaseMs: 1_000, graceMs: 1_000 });
  return new NatsStore({ link, layout, gateway: "gateway", log: quietLog });
}

const stores: [string, () => JobStore | Promise<JobStore>, boolean][] = [
  ["memory", openMemoryStore, false],
  ["sqlite", () => openSqliteStore(join(folder, "jobs.db")), false],
  ["nats", openNatsStore, withoutNats],
];

describe.each(stores)("the %s store", (name, open, isAway) => {
  beforeEach(({ skip }) => skip(isAway, "nats-server is not installed"));

  it("keeps a job as it came, once", async () => {
    const store = await open();
    expect(await store.insert(job("a"))).toBe(true);
    expect(await store.insert(job("a", { model: "other" }))).toBe(false);
    expect(await store.get("a")).toEqual(job("a"));
    expect(await store.get("b")).toBeNull();
    await store.close();
  });

  it("lists what has not ended in the order in which it came", async () => {
    const store = await open();
    for (const id of ["c", "a", "b"]) await store.insert(job(id));
    await store.assign("a", "w");
    await store.commit("c", 0, { status: "cancelled" });
    expect((await store.unfinished()).map(({ id, state }) => [id, state])).toEqual([
      ["a", "assigned"],
      ["b", "queued"],
    ]);
    await store.close();
  });

  it("ends a job once, by its newest attempt", async () => {
    const store = await open();
    await store.insert(job("a"));
    expect(await store.assign("a", "w1")).toMatchObject({ state: "assigned", attempt: 1, workerId: "w1" });
    expect(await store.assign("a", "w2")).toBeNull();
    expect(await store.release("a", 1, { failed: true })).toMatchObject({ state: "queued", workerId: null });
    expect(await store.release("a", 1, { failed: true })).toBeNull();
    expect(await store.assign("a", "w2")).toMatchObject({ attempt: 2, workerId: "w2" });
    expect(await store.commit("a", 1, DONE)).toBeNull();
    expect(await store.commit("a", 2, DONE)).toMatchObject({ state: "done", outcome: DONE });
    expect(await store.commit("a", 2, { status: "failed" })).toBeNull();
    expect(await store.release("a", 2, { failed: false })).toBeNull();
    expect(await store.get("a")).toMatchObject({
      state: "done",
      outcome: DONE,
      workerId: "w2",
      attempt: 2,
      failures: 1,
      input: null,
    });
    expect((await store.get("a"))?.finishedAt).toBeGreaterThan(0);
    await store.close();
  });

  it("keeps of an end what is to be kept, and counts tokens by client and day", async () => {
    const store = await open();
    const today = dayOf(Date.now());
    await store.insert(job("plain", { client: "alice" }));
    await store.insert(job("kept", { client: "alice", keepInput: true }));
    await store.insert(job("attended", { client: "bob", attended: true }));
    for (const id of ["plain", "kept", "attended"]) {
      expect(await store.commit(id, 0, DONE)).toMatchObject({ state: "done", outcome: DONE });
    }
    expect(await store.get("plain")).toMatchObject({ input: null, outcome: DONE });
    expect(await store.get("kept")).toMatchObject({ input: job("kept").input, outcome: DONE });
    const { output: _, ...rest } = DONE;
    expect((await store.get("attended"))?.outcome).toEqual(rest);
    expect(await store.tokensOf("alice", today)).toBe(6);
    expect(await store.tokensOf("bob", today)).toBe(3);
    expect(await store.tokensOf("bob", "2001-01-01")).toBe(0);
    await store.close();
  });

  it("lists what ended at a worker", async () => {
    const store = await open();
    for (const id of ["a", "b", "c", "d", "e"]) await store.insert(job(id));
    for (const [id, worker] of Object.entries({ a: "w1", b: "w2", c: "w1", d: "w1" })) await store.assign(id, worker);
    await store.commit("a", 1, DONE);
    await store.commit("b", 1, DONE);
    await store.commit("c", 1, { status: "failed" });
    await store.commit("e", 0, { status: "cancelled" });
    const ids = async (filter: Partial<JobFilter>) =>
      (await store.list({ limit: 9, endedAt: "w1", ...filter })).map(({ id }) => id).join("");
    expect(await ids({})).toBe("ca");
    expect(await ids({ after: "c" })).toBe("a");
    expect(await ids({ state: "failed" })).toBe("c");
    expect(await ids({ endedAt: "w3" })).toBe("");
    await store.close();
  });

  it("lists by client and state, newest first, in pages, and forgets what ended long ago", async () => {
    const store = await open();
    for (const id of ["a", "b", "c", "d"]) await store.insert(job(id, { client: id === "c" ? "bob" : null }));
    await store.commit("b", 0, DONE);
    const ids = async (filter: Parameters<JobStore["list"]>[0]) =>
      (await store.list(filter)).map(({ id }) => id).join("");
    expect(await ids({ limit: 10 })).toBe("dcba");
    expect(await ids({ limit: 2, after: "d" })).toBe("cb");
    expect(await ids({ limit: 10, client: null })).toBe("dba");
    expect(await ids({ limit: 10, client: "bob" })).toBe("c");
    expect(await ids({ limit: 10, state: "done" })).toBe("b");
    expect(await ids({ limit: 10, after: "nothing" })).toBe("");
    await store.prune(Date.now() + 1);
    expect(await ids({ limit: 10 })).toBe("dca");
    await store.close();
  });

  it("takes many changes at once", async () => {
    const store = await open();
    const many = Array.from({ length: 200 }, (_, index) => `job-${index % 100}`);
    const inserted = await Promise.all(many.map((id) => store.insert(job(id))));
    expect(inserted.filter(Boolean)).toHaveLength(100);
    const assigned = await Promise.all(many.map((id) => store.assign(id, "w")));
    expect(assigned.filter((each) => each !== null)).toHaveLength(100);
    expect(await store.unfinished()).toHaveLength(100);
    await store.close();
  });

  it("ends each job once, whatever is done in whatever order", async () => {
    const step = fc.record({
      what: fc.constantFrom("insert", "assign", "release", "commit"),
      id: fc.constantFrom("a", "b"),
      attempt: fc.nat(4),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        for (const end of ["", "-wal", "-shm"]) rmSync(join(folder, `jobs.db${end}`), { force: true });
        const store = await open();
        const ended = new Map<string, number>();
        for (const { what, id, attempt } of steps) {
          const before = await store.get(id);
          if (what === "insert") await store.insert(job(id));
          else if (what === "assign") {
            const assigned = await store.assign(id, "w");
            expect(assigned !== null).toBe(before?.state === "queued");
            if (assigned) expect(assigned.attempt).toBe(before!.attempt + 1);
          } else if (what === "release") {
            expect((await store.release(id, attempt, { failed: false })) !== null).toBe(
              before?.state === "assigned" && before.attempt === attempt,
            );
          } else if (await store.commit(id, attempt, DONE)) {
            expect(before?.attempt).toBe(attempt);
            ended.set(id, (ended.get(id) ?? 0) + 1);
          }
        }
        for (const id of ["a", "b"]) {
          const found = await store.get(id);
          expect(ended.get(id) ?? 0).toBe(found && isFinal(found.state) ? 1 : 0);
        }
        await store.close();
      }),
      { numRuns: name === "nats" ? 15 : 60 },
    );
  });
});

it("an sqlite store of the first version is brought to this one", async () => {
  const path = join(folder, "jobs.db");
  const old = new DatabaseSync(path);
  old.exec(`CREATE TABLE jobs (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    model TEXT NOT NULL, input TEXT NOT NULL, stream INTEGER NOT NULL, retrySafe INTEGER NOT NULL, maxAttempts INTEGER NOT NULL,
    createdAt INTEGER NOT NULL, deadlineAt INTEGER NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL, workerId TEXT, outcome TEXT, finishedAt INTEGER) STRICT;
    INSERT INTO jobs VALUES (1, 'a', 'chat', 'm', '{}', 0, 1, 3, 1, 2, 'queued', 0, 0, NULL, NULL, NULL)`);
  old.close();
  for (let opened = 0; opened < 2; opened += 1) {
    const store = openSqliteStore(path);
    expect(await store.unfinished()).toMatchObject([{ id: "a", priority: 0, client: null, attended: false }]);
    await store.close();
  }
});

it("what the sqlite store has said outlives a kill", async () => {
  const path = join(folder, "jobs.db");
  const program = `
    const { openSqliteStore } = await import(${JSON.stringify(join(import.meta.dirname, "../../../src/coordinator/stores/sqlite.ts"))});
    const store = openSqliteStore(${JSON.stringify(path)});
    for (let n = 0; ; n += 1) {
      const id = "job-" + n;
      await store.insert({ ...${JSON.stringify(job("x"))}, id });
      await store.assign(id, "w");
      if (n % 2) await store.commit(id, 1, { status: "done", output: n });
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
    expect(await store.get(`job-${n}`)).toMatchObject(
      n % 2 ? { state: "done", outcome: { output: n } } : { state: "assigned" },
    );
  }
  await store.close();
});
