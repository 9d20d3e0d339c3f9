import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it, onTestFinished } from "vitest";
import { acquireLease, type Lease, type LeaseOptions } from "../../src/store/lease.ts";
import type { LeaseHolder } from "../../src/store/lease-watch.ts";
import { until } from "../until.ts";
import { mountTmpfs } from "./mount.ts";
import { temporaryFolder } from "./temporary-folder.ts";

/** A holder that is waited for this long is never given up within a test. */
const NEVER = 3_600_000;

function acquire(folder: string, options: Partial<LeaseOptions> = {}): Promise<Lease> {
  return acquireLease(folder, { what: "this test", pollMs: 2, expiryMs: NEVER, ...options });
}

function startHolder(folder: string, options: Partial<LeaseOptions> = {}) {
  const fixture = fileURLToPath(new URL("./fixtures/lease-process.ts", import.meta.url));
  const child = spawn(process.execPath, [fixture, folder, JSON.stringify({ pollMs: 2, ...options })], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  return {
    kill: (signal: NodeJS.Signals) => void child.kill(signal),
    says: (line: string) => until(`the other process says "${line}"`, () => said.split("\n").includes(line)),
    hasSaid: (line: string) => said.split("\n").includes(line),
    exited: once(child, "close"),
  };
}

/** The one lease file there should be. */
function leaseFile(folder: string): string {
  const names = readdirSync(folder).filter((name) => /^\d+$/.test(name));
  expect(names).toHaveLength(1);
  return join(folder, names[0]!);
}

const contentOf = (folder: string) => JSON.parse(readFileSync(leaseFile(folder), "utf8")) as Record<string, unknown>;

it("is had at once where nobody holds it, and again after it was released", async () => {
  const folder = join(temporaryFolder(), "a", "lease");
  for (let round = 0; round < 5; round += 1) {
    const lease = await acquire(folder);
    expect(lease.lost.aborted).toBe(false);
    await lease.release();
  }
  leaseFile(folder);
});

it("has one holder; the waiter is told of it once and goes on when it lets go", async () => {
  const folder = temporaryFolder();
  const holder = await acquire(folder, { what: "huggingface:acme/tiny", beatMs: 2 });
  const told: LeaseHolder[] = [];
  let taken = false;
  const second = acquire(folder, { onWait: (waitedFor) => void told.push(waitedFor) }).then((lease) => {
    taken = true;
    return lease;
  });
  await until("the waiter was told", () => told.length > 0);
  // Renewals do not make another holder of it.
  await until("a few beats passed", () => Number(contentOf(folder).beat) > 10);
  expect(taken).toBe(false);
  await holder.release();
  const lease = await second;
  expect(told).toHaveLength(1);
  expect(told[0]).toMatchObject({ what: "huggingface:acme/tiny" });
  expect(Number.isNaN(Date.parse(told[0]!.since))).toBe(false);
  await lease.release();
});

it("is not taken from a holder that beats, for many times the expiry", async () => {
  const folder = temporaryFolder();
  const holder = await acquire(folder, { beatMs: 5 });
  const stop = new AbortController();
  const waiter = acquire(folder, { expiryMs: 300, signal: stop.signal });
  await until("many beats passed", () => Number(contentOf(folder).beat) > 200);
  expect(holder.lost.aborted).toBe(false);
  stop.abort();
  await expect(waiter).rejects.toThrow();
  await holder.release();
});

it("lets a waiter give up, and leaves the lease to its holder", async () => {
  const folder = temporaryFolder();
  const holder = await acquire(folder);
  const stop = new AbortController();
  const waiter = acquire(folder, { signal: stop.signal, onWait: () => stop.abort() });
  await expect(waiter).rejects.toMatchObject({ name: "AbortError" });
  expect(contentOf(folder)).toMatchObject({ released: false });
  await holder.release();
  expect(contentOf(folder)).toMatchObject({ released: true });
});

it("never has two holders, whoever hurries", async () => {
  const folder = temporaryFolder();
  const counter = join(folder, "counter");
  writeFileSync(counter, "0");
  writeFileSync(`${counter}.log`, "");
  const fixture = fileURLToPath(new URL("./fixtures/counter-process.ts", import.meta.url));
  const processes = Array.from({ length: 6 }, () => {
    const child = spawn(process.execPath, [fixture, join(folder, "lease"), counter, "20"], { stdio: "inherit" });
    onTestFinished(() => void child.kill("SIGKILL"));
    return once(child, "close");
  });
  expect(await Promise.all(processes)).toEqual(processes.map(() => [0, null]));
  const log = readFileSync(`${counter}.log`, "utf8").trimEnd().split("\n");
  const overlaps = log.filter((line, index) => index % 2 === 1 && line !== log[index - 1]!.replace("in", "out"));
  expect([readFileSync(counter, "utf8"), overlaps]).toEqual(["120", []]);
});

it("is not given to a waiter that acts on what it saw long ago", async () => {
  const folder = temporaryFolder();
  const released = { token: "x", holder: { host: "a", what: "b", since: "c" }, process: null, beat: 1, released: true };
  // The waiter's look at number 1 takes as long as nobody writes to this pipe.
  const pipe = join(folder, "000000000001");
  execFileSync("mkfifo", [pipe]);
  let taken = false;
  let waits = false;
  const late = acquire(folder, { onWait: () => (waits = true) }).then((lease) => {
    taken = true;
    return lease;
  });
  const writer = await open(pipe, "w");
  // Meanwhile others had number 2 and hold number 3.
  writeFileSync(join(folder, "000000000002"), JSON.stringify(released));
  const holder = await acquire(folder);
  const held = leaseFile(folder);
  await writer.writeFile(JSON.stringify(released));
  await writer.close();
  await until("the late waiter has made up its mind", () => taken || waits);
  expect(taken).toBe(false);
  expect(leaseFile(folder)).toBe(held);
  await holder.release();
  await (await late).release();
  expect(holder.lost.aborted).toBe(false);
});

it("is taken over at once from a process that was killed on this machine", async () => {
  const folder = temporaryFolder();
  const holder = startHolder(folder);
  await holder.says("held");
  holder.kill("SIGKILL");
  await holder.exited;
  // With an expiry of an hour: nothing but the knowledge that the process is gone can give it.
  const lease = await acquire(folder);
  await lease.release();
});

it("is taken over from a frozen process after the expiry, which then learns that it lost it", async () => {
  const folder = temporaryFolder();
  const holder = startHolder(folder, { beatMs: 10 });
  await holder.says("held");
  holder.kill("SIGSTOP");
  const lease = await acquire(folder, { expiryMs: 200 });
  const taken = leaseFile(folder);
  holder.kill("SIGCONT");
  await holder.says("lost LEASE_LOST");
  // It neither takes it back nor spoils it, not even when it lets go.
  holder.kill("SIGTERM");
  await holder.exited;
  expect(holder.hasSaid("released")).toBe(true);
  expect(leaseFile(folder)).toBe(taken);
  expect(contentOf(folder)).toMatchObject({ released: false });
  expect(lease.lost.aborted).toBe(false);
  await lease.release();
});

it("goes by what changes, not by the clock of the holder", async () => {
  for (const since of ["1970-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"]) {
    const folder = temporaryFolder();
    const beat = (count: number) =>
      writeFileSync(
        join(folder, "000000000001"),
        JSON.stringify({
          token: "other",
          holder: { host: "elsewhere", what: "a model", since },
          process: null,
          beat: count,
          released: false,
        }),
      );
    let beats = 0;
    beat(beats);
    let taken = false;
    const waiter = acquire(folder, { expiryMs: 300 }).then((lease) => {
      taken = true;
      return lease;
    });
    const beating = setInterval(() => beat(++beats), 10);
    onTestFinished(() => clearInterval(beating));
    await until("it beat for longer than the expiry", () => beats > 60);
    expect(taken).toBe(false);
    clearInterval(beating);
    await (await waiter).release();
  }
});

it("is taken over after the expiry where its file holds garbage or nothing", async () => {
  for (const garbage of ["", "{", '"x"', "null", '{"token":1}', "\0\0\0", '{"released":true}']) {
    const folder = temporaryFolder();
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "000000000041"), garbage);
    writeFileSync(join(folder, "not a number"), "noise");
    const lease = await acquire(folder, { expiryMs: 30 });
    expect(leaseFile(folder)).toMatch(/000000000042$/);
    await lease.release();
  }
});

it("is kept and let go of on a full disk, where it cannot be had", async ({ skip }) => {
  const volume = mountTmpfs(64 * 1024, skip);
  const lease = await acquire(join(volume, "held"), { beatMs: 5 });
  mkdirSync(join(volume, "free"));
  spawnSync("sh", ["-c", 'cat /dev/zero > "$0/filler" 2>&1', volume]);
  const { beat } = contentOf(join(volume, "held"));
  await until("it beat on", () => Number(contentOf(join(volume, "held")).beat) > Number(beat) + 3);
  await lease.release();
  expect(contentOf(join(volume, "held"))).toMatchObject({ released: true });
  await expect(acquire(join(volume, "free"))).rejects.toMatchObject({ code: "ENOSPC" });
  expect(readdirSync(join(volume, "free"))).toEqual([]);
});

it("says why where the folder cannot be made", async () => {
  const file = join(temporaryFolder(), "file");
  writeFileSync(file, "");
  await expect(acquire(join(file, "lease"))).rejects.toMatchObject({ code: "ENOTDIR" });
});
