import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { registerSecret } from "../../../src/redact.ts";
import { AuditReader } from "../../../src/store/audit/audit-reader.ts";
import { openAudit } from "../../../src/store/audit/audit-trail.ts";
import type { AuditEvent } from "../../../src/store/audit/entry.ts";
import { AS_SOMEBODY, canBeSomebody } from "../../e2e/somebody.ts";
import { until } from "../../until.ts";
import { mountTmpfs, remountReadOnly } from "../mount.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const SIZES = { file: 4 << 20, all: 64 << 20 };
let folder: string;
let warnings: string[];
beforeEach(() => {
  folder = join(temporaryFolder(), "audit");
  warnings = [];
});

function trail(sizes = SIZES, audit = folder) {
  const log = { warn: (_data: object, message: string) => void warnings.push(message) };
  return openAudit({ layout: { audit }, config: { workerId: "worker-1", stateDir: null }, log: log as never, sizes });
}
const event = (key: string, change: Partial<AuditEvent> = {}): AuditEvent => ({
  ...{ action: "fetched", model: { key, source: "huggingface", location: "acme/tiny", revision: "c0ffee" }, files: [] },
  ...change,
});
const read = () => new AuditReader(folder).next({ isLast: true });
const file = () => join(folder, `${hostname()}.jsonl`);
const FIXTURE = join(import.meta.dirname, "../fixtures/audit-process.ts");

function writer(name: string, ...more: string[]) {
  const child = spawn(process.execPath, [FIXTURE, folder, name, ...more], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (piece: string) => {
    text += piece;
  });
  const exited = once(child, "close");
  /** Lines that it was told to stand. */
  const done = () => text.split("\n").length - 1;
  return {
    done,
    async kill() {
      child.kill("SIGKILL");
      await exited;
      return done();
    },
  };
}

describe("the audit trail", () => {
  it("says who did what, from where, with which digests", async () => {
    const digest = { algorithm: "sha256" as const, hex: "ab".repeat(32) };
    const files = Array.from({ length: 150 }, (_, index) => ({ path: `file-${index}`, size: 2, digest }));
    await trail().note(event("a", { files, from: ["hub", "hub", "mirror"], why: "asked for" }));
    const { entries, unreadable } = await read();
    expect(unreadable).toBe(0);
    expect(entries).toMatchObject([
      {
        action: "fetched",
        model: { key: "a", location: "acme/tiny", revision: "c0ffee" },
        ...{ files: 150, bytes: 300, from: ["hub", "mirror"], to: null, why: "asked for" },
        who: { host: hostname(), worker: "worker-1", pid: process.pid },
      },
    ]);
    expect(entries[0]?.digests).toHaveLength(100);
    expect(entries[0]?.digests[0]).toBe(`sha256:${digest.hex} file-0`);
    expect(statSync(file()).mode & 0o777).toBe(0o644);
  });

  it("holds no secrets", async () => {
    registerSecret("s3cr3t-of-the-audit");
    const to = "https://user:pass-word@hub.example/x?X-Amz-Signature=abcdef";
    await trail().note(event("a", { to, from: ["s3cr3t-of-the-audit"] }));
    const text = readFileSync(file(), "utf8");
    expect(text).not.toMatch(/s3cr3t|pass-word|abcdef/);
    expect(text).toContain("hub.example");
  });

  it("of two processes at once, of which one is killed, has every line that stood, and at most one that is torn", async () => {
    // Small files, so that they are also begun anew all the time.
    const writers = ["one", "two", "three"].map((name) => writer(name, "40000"));
    await until("they have written", () => writers.every(({ done }) => done() > 30), 60_000);
    const counts = await Promise.all(writers.map(({ kill }) => kill()));
    const { entries, unreadable } = await read();
    expect(unreadable).toBeLessThanOrEqual(writers.length);
    const keys = new Set(entries.map(({ model }) => model?.key));
    expect(keys.size).toBe(entries.length);
    for (const [index, name] of ["one", "two", "three"].entries()) {
      const missing = Array.from({ length: counts[index]! }, (_, count) => `${name}-${count + 1}`);
      expect(missing.filter((key) => !keys.has(key))).toEqual([]);
    }
    expect(readdirSync(folder).length).toBeGreaterThan(2);
    await trail().note(event("after"));
    expect((await read()).entries.at(-1)?.model?.key).toBe("after");
  });

  it("survives a line that was torn: those before and after it are read", async () => {
    await trail().note(event("a"));
    appendFileSync(file(), '{"formatVersion":1,"time":"2026');
    await trail().note(event("b"));
    appendFileSync(file(), '\n{"formatVersion":2}\n[]\n');
    const { entries, unreadable } = await read();
    expect(entries.map(({ model }) => model?.key)).toEqual(["a", "b"]);
    expect(unreadable).toBe(3);
  });

  it("is bounded: a file is begun anew when it is full, and the oldest go", async () => {
    const { note } = trail({ file: 2000, all: 6000 });
    for (let count = 0; count < 60; count += 1) await note(event(`key-${count}`));
    const sizes = readdirSync(folder).map((name) => statSync(join(folder, name)).size);
    expect(Math.max(...sizes)).toBeLessThan(3000);
    expect(sizes.reduce((sum, size) => sum + size)).toBeLessThan(9000);
    const { entries } = await read();
    expect(entries.at(-1)?.model?.key).toBe("key-59");
    expect(entries.length).toBeGreaterThan(5);
    expect(entries.length).toBeLessThan(60);
    expect(warnings).toEqual([]);
  });

  it("is never in the way: what cannot be written is told once", async ({ skip }) => {
    const volume = mountTmpfs(1 << 20, skip);
    mkdirSync(join(volume, "audit"));
    remountReadOnly(volume);
    const { note } = trail(SIZES, join(volume, "audit"));
    await note(event("a"));
    await note(event("b"));
    expect(warnings).toEqual([
      expect.stringMatching(/^There is no audit trail of what this process does: .*read-only/),
    ]);

    const full = mountTmpfs(16_384, skip);
    writeFileSync(join(full, "large"), Buffer.alloc(12_288));
    warnings = [];
    const other = trail(SIZES, join(full, "audit"));
    for (let count = 0; count < 60; count += 1) await other.note(event(`key-${count}`));
    expect(warnings).toEqual([expect.stringMatching(/No space left/)]);
    // The line that had no room is torn; those before it are there.
    const { entries } = await new AuditReader(join(full, "audit")).next({ isLast: true });
    expect(entries[0]?.model?.key).toBe("key-0");
  });

  it.skipIf(!canBeSomebody)("has a file of another user beside that of the first", async () => {
    await trail().note(event("root"));
    chmodSync(join(folder, ".."), 0o777);
    chmodSync(folder, 0o777);
    const [program = "", ...before] = AS_SOMEBODY.slice(0, -1);
    const child = spawn(program, [...before, process.execPath, FIXTURE, folder, "somebody"], { stdio: "ignore" });
    onTestFinished(() => void child.kill("SIGKILL"));
    const own = join(folder, `${hostname()}-1000.jsonl`);
    await until("somebody has a line", () => existsSync(own) && statSync(own).size > 0, 30_000);
    child.kill("SIGKILL");
    await once(child, "close");
    const users = (await read()).entries.map(({ model }) => model?.key);
    expect(users).toEqual(expect.arrayContaining(["root", "somebody-1"]));
  });
});

describe("a reader", () => {
  it("merges hosts by time, and gives what has come since, also where a file got another name", async () => {
    const { note } = trail({ file: 1000, all: 1e9 });
    await note(event("a"));
    const [line = ""] = readFileSync(file(), "utf8").split("\n");
    const early = { ...JSON.parse(line), time: "2020-01-01T00:00:00.000Z", model: null, action: "of-a-newer-version" };
    writeFileSync(join(folder, "other-host.jsonl"), `${JSON.stringify(early)}\n{"half`);
    const reader = new AuditReader(folder);
    const actions = async () => (await reader.next()).entries.map(({ action, model }) => model?.key ?? action);
    expect(await actions()).toEqual(["of-a-newer-version", "a"]);
    expect(await actions()).toEqual([]);
    for (const key of ["b", "c", "d", "e"]) await note(event(key));
    appendFileSync(join(folder, "other-host.jsonl"), '": 1}\n');
    expect((await reader.next()).entries.map(({ model }) => model?.key)).toEqual(["b", "c", "d", "e"]);
    expect(readdirSync(folder).length).toBeGreaterThan(2);
    expect(await new AuditReader(join(folder, "none")).next()).toEqual({ entries: [], unreadable: 0 });
  });
});
