import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { startCoordinator } from "../src/coordinator/coordinator.ts";
import { newJob } from "../src/coordinator/jobs/new-job.ts";
import { openMemoryStore } from "../src/coordinator/stores/memory.ts";
import type { JobErrorCode } from "../src/protocol.ts";
import { launch, visit } from "../test/coordinator/dashboard/browser.ts";
import { type Card, joinFleet, model } from "../test/coordinator/dashboard/simulated-worker.ts";
import { quietLog } from "../test/register/worker.ts";
import { until } from "../test/until.ts";
import { seededRandom } from "./seeded-random.ts";

/**
 * Takes the pictures of the dashboard in docs/images: `npm run screenshots`. Coordinator, connections and browser are real, the
 * cards and jobs invented. With `--all` also of other sizes, and into the folder that follows.
 */

const [more, folder = join(import.meta.dirname, "../docs/images")] = process.argv.slice(2);
const SHOTS: { name: string; width: number; height: number; scheme: "light" | "dark"; open?: string }[] = [
  { name: "dashboard-light", width: 1440, height: 900, scheme: "light" },
  { name: "dashboard-dark", width: 1440, height: 900, scheme: "dark", open: "h100-02" },
  { name: "dashboard-phone", width: 400, height: 860, scheme: "light" },
];
if (more === "--all") {
  SHOTS.push({ name: "dashboard-1280", width: 1280, height: 800, scheme: "dark" });
  SHOTS.push({ name: "dashboard-wall", width: 3840, height: 2160, scheme: "dark" });
  SHOTS.push({ name: "dashboard-phone-detail", width: 400, height: 860, scheme: "dark", open: "h100-02" });
}

const TOKEN = "the-screenshots-token";
const DAY_MS = 86_400_000;
const { next, between, oneOf } = seededRandom(7);

const store = openMemoryStore();
await using coordinator = await startCoordinator({
  ...{ host: "127.0.0.1", port: 0, workerToken: null, clientToken: TOKEN, log: quietLog, store },
  ...{ leaseMs: DAY_MS, graceMs: DAY_MS },
});
await workThroughTenMinutes();

const NAMES = ["llama-3.1-8b-instruct", "mistral-7b-instruct", "qwen2.5-vl-7b", "all-minilm-l6-v2", "nomic-embed-text"];
const card = (name: string, totalGiB: number, share: number): Card => ({
  ...{ name, totalGiB, usedGiB: totalGiB * share, utilization: Math.round(100 * between(0.2, 0.95)) },
});
const engines = [{ kind: "vllm" as const, url: "http://127.0.0.1:8000", reachable: true, version: "0.11.0" }];
const busyWorkers = [];
for (let index = 1; index <= 6; index += 1) {
  const cards = Array.from({ length: 8 }, () => card("NVIDIA H100 80GB HBM3", 80, between(0.55, 0.97)));
  const models = [model(NAMES[0]!), model(NAMES[1]!), model(NAMES[2]!)];
  busyWorkers.push(await joinFleet(coordinator.wsUrl, { id: `h100-0${index}`, cards, models, engines, slots: 32 }));
}
for (const [index, worker] of busyWorkers.entries()) worker.beat({ busy: [21, 30, 12, 0, 27, 17][index] });
busyWorkers[3]!.beat({ ready: false, state: "draining", busy: 3 });
busyWorkers[1]!.model(NAMES[2]!, { state: "fetching", bytesDone: 9.4e9, bytesTotal: 16.6e9, rate: 412e6 });
for (let index = 1; index <= 9; index += 1) {
  const cards = [card("NVIDIA GeForce RTX 4090", 24, between(0.4, 0.9))];
  const worker = await joinFleet(coordinator.wsUrl, {
    ...{ id: `ada-${String(index).padStart(2, "0")}`, type: "gpu-small", cards, models: [model(NAMES[1]!)], slots: 8 },
  });
  worker.beat({ busy: Math.floor(between(0, 8)) });
  if (index === 4) {
    worker.beat({ ready: false, state: "syncing" });
    worker.model(NAMES[1]!, { state: "fetching", bytesDone: 3.1e9, bytesTotal: 14.5e9, rate: 118e6 });
  }
  if (index === 7) worker.beat({ ready: false, state: "ready" });
  if (index === 7) worker.model(NAMES[1]!, { state: "failed", errorCode: "DISK_FULL", bytesDone: 8e9 });
  if (index === 9) worker.socket.terminate();
}
for (let index = 1; index <= 4; index += 1) {
  const models = [model(NAMES[3]!, { bytesTotal: 91e6 }), model(NAMES[4]!, { bytesTotal: 274e6, required: false })];
  const worker = await joinFleet(coordinator.wsUrl, { id: `embed-${index}`, type: "embedding", models, slots: 16 });
  worker.beat({ busy: Math.floor(between(3, 16)) });
}
await storeJobs();
busyWorkers[1]!.send({ t: "credit", kind: "chat", n: 9 });
for (let index = 0; index < 9; index += 1) await coordinator.jobs.submit({ kind: "chat", model: NAMES[0]!, input: {} });
for (let index = 0; index < 3; index += 1)
  await coordinator.jobs.submit({ kind: "embedding", model: NAMES[3]!, input: {} });
await until("jobs run", () => coordinator.jobs.counts().assigned === 9);

mkdirSync(folder, { recursive: true });
await using browser = await launch();
for (const { name, width, height, scheme, open } of SHOTS) {
  await using tab = await visit(browser, { width, height, scheme });
  await tab.page.goto(coordinator.url);
  await tab.page.getByLabel("Admin key").fill(TOKEN);
  await tab.page.getByRole("button", { name: "Sign in" }).click();
  await tab.page.getByText("Live", { exact: true }).first().waitFor();
  await tab.page.getByRole("button", { name: "h100-01", exact: true }).waitFor();
  if (open) await tab.page.getByRole("button", { name: open, exact: true }).click();
  if (open) await tab.page.getByRole("heading", { name: "Engines" }).waitFor();
  await tab.page.screenshot({ path: join(folder, `${name}.png`), animations: "disabled" });
  process.stdout.write(`${join(folder, name)}.png\n`);
}

/** Jobs that end in each of 120 steps of 5 s, on a clock that is put forward. */
async function workThroughTenMinutes(): Promise<void> {
  const now = performance.now.bind(performance);
  let forward = 0;
  performance.now = () => now() + forward;
  const worker = await joinFleet(coordinator.wsUrl, { id: "seed", models: [model("seed")], slots: 100 });
  worker.beat();
  worker.socket.on("message", (data) => {
    const frame = JSON.parse(data.toString());
    if (frame.t !== "job.offer") return;
    const { jobId, attempt } = frame;
    const isWrong = next() < 0.03;
    const error = { code: "INVALID_INPUT" as const, message: "no", retryable: false };
    worker.send({
      t: "job.result",
      jobId,
      attempt,
      status: isWrong ? "failed" : "done",
      ...(isWrong ? { error } : { output: {} }),
    });
  });
  for (let step = 0; step < 120; step += 1) {
    const wave = 14 + 7 * Math.sin(step / 13) + (step > 70 ? 9 : 0);
    worker.send({ t: "credit", kind: "chat", n: 100 });
    const submit = () => coordinator.jobs.submit({ kind: "chat", model: "seed", input: {} });
    await Promise.all(Array.from({ length: Math.round(wave + between(-3, 3)) }, submit));
    await until("they are done", () => Object.values(coordinator.jobs.counts()).every((count) => count === 0));
    forward += 5_000;
  }
  worker.send({ t: "bye", reason: "done" });
  worker.socket.close();
  await until("it is gone", () => coordinator.workers().length === 0);
}

/** Jobs that have ended, as if they had come over the last minutes. */
async function storeJobs(): Promise<void> {
  for (let index = 60; index > 0; index -= 1) {
    const kind = oneOf(["chat", "chat", "embedding", "ocr"] as const);
    const name = kind === "embedding" ? NAMES[3]! : kind === "ocr" ? NAMES[2]! : oneOf(NAMES.slice(0, 2));
    const workerId = kind === "embedding" ? `embed-${Math.ceil(between(0, 4))}` : `h100-0${Math.ceil(between(0, 6))}`;
    const createdAt = Date.now() - index * 2_300;
    const finishedAt = createdAt + (kind === "embedding" ? between(20, 90) : between(900, 9_000));
    const code: JobErrorCode | null = index % 17 === 4 ? "OUT_OF_MEMORY" : index % 23 === 1 ? "TIMEOUT" : null;
    const error = code && { code, message: "", retryable: false };
    await store.insert({
      ...newJob({ kind, model: name, input: null, client: oneOf(["search", "billing", "chatbot"]) }, false),
      ...{
        createdAt,
        finishedAt,
        workerId,
        attempt: code === "OUT_OF_MEMORY" ? 3 : 1,
        state: code ? "failed" : "done",
      },
      outcome: { status: code ? "failed" : "done", ...(error && { error }) },
    });
  }
}
