import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Coordinator, type CoordinatorOptions, startCoordinator } from "../../../src/coordinator/coordinator.ts";
import type { WorkerPayload } from "../../../src/protocol.ts";
import { quietLog } from "../../register/worker.ts";
import { until } from "../../until.ts";
import { CHROMIUM_MISSING, launch, type VisitOptions, visit } from "./browser.ts";
import { type FleetWorkerOptions, joinFleet, model } from "./simulated-worker.ts";

const KEY = "the-admin-key-of-the-tests";
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const H100 = { name: "NVIDIA H100", totalGiB: 80, usedGiB: 60, utilization: 40 };

let browser: Browser;
beforeAll(async () => {
  if (!CHROMIUM_MISSING) browser = await launch();
});
afterAll(async () => {
  await browser?.close();
});

async function open(options: Partial<CoordinatorOptions> & { port?: number } = {}): Promise<Coordinator> {
  return await startCoordinator({
    ...{
      host: "127.0.0.1",
      port: 0,
      workerToken: null,
      clientToken: "client-key-of-the-tests",
      adminToken: KEY,
      log: quietLog,
    },
    ...options,
  });
}

async function signIn(page: Page, key = KEY) {
  await page.getByLabel("Admin key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
}

/** The page of a coordinator, signed in. */
async function enter(coordinator: Coordinator, options?: VisitOptions) {
  const tab = await visit(browser, options);
  await tab.page.goto(coordinator.url);
  await signIn(tab.page);
  await live(tab.page);
  return tab;
}

const live = (page: Page) => page.locator('#connection[data-state="live"]').waitFor();
const rowOf = (page: Page, id: string) =>
  page.getByRole("row").filter({ has: page.getByRole("button", { name: id, exact: true }) });
const workersTile = (page: Page) => page.locator("#tile-workers");

/** Says what axe has against the page as it stands. */
async function accessibilityProblems(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  return await page.evaluate(async () => {
    // biome-ignore lint/suspicious/noExplicitAny: axe has put itself into the page.
    const { violations } = await (globalThis as any).axe.run({
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    });
    return violations.flatMap(({ id, nodes }: { id: string; nodes: { html: string; failureSummary: string }[] }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`),
    );
  });
}

/** How far the page is wider than the window, in pixels. */
const overflow = (page: Page) =>
  page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");

describe.skipIf(CHROMIUM_MISSING)("the dashboard, in Chromium", () => {
  test("asks for the key once, says when it is wrong, and forgets it", async () => {
    await using coordinator = await open();
    await using tab = await visit(browser);
    const { page } = tab;
    await page.goto(coordinator.url);
    await signIn(page, "wrong-key");
    await expect.poll(() => page.getByRole("alert").textContent()).toBe("This key is wrong.");
    await signIn(page, "client-key-of-the-tests");
    await expect.poll(() => page.getByRole("alert").textContent()).toBe("This key is not an admin's.");
    await signIn(page);
    await live(page);
    await page.reload();
    await live(page);
    expect(await page.getByLabel("Admin key").isVisible()).toBe(false);

    expect(page.url()).not.toContain(KEY);
    expect(await tab.context.cookies()).toEqual([]);
    expect(await page.evaluate("JSON.stringify(localStorage)")).not.toContain(KEY);
    expect(await page.content()).not.toContain(KEY);

    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Admin key").waitFor();
    await page.reload();
    await page.getByLabel("Admin key").waitFor();
    expect(await page.evaluate("JSON.stringify(sessionStorage)")).not.toContain(KEY);
    // The browser itself tells of each refused request.
    expect(tab.complaints.filter((text) => !/status of 40[13]/.test(text))).toEqual([]);
  });

  test("asks for no key where the coordinator asks for none, and steers workers there", async () => {
    await using coordinator = await open({ clientToken: null, adminToken: null });
    await using tab = await visit(browser);
    const { page } = tab;
    await page.goto(coordinator.url);
    await live(page);
    const line = await page.locator("#workers-empty code").first().textContent();
    expect(line).toBe(`COORDINATOR_URL=${coordinator.wsUrl} WORKER_TYPE=gpu-worker muster start`);
    using worker = await joinFleet(coordinator.wsUrl, { id: "gpu-1" });
    worker.beat();
    await page.getByRole("button", { name: "gpu-1" }).click();
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByRole("dialog", { name: "Pause: gpu-1?" }).getByRole("button", { name: "Pause" }).click();
    await until("the order comes", () => worker.frames.some(({ t }) => t === "pause"));
    await page.getByText("Pause: the worker was told.").waitFor();
    expect(tab.complaints).toEqual([]);
  });

  test("shows a worker as it joins, fetches, gets ready, works, and is lost", async () => {
    await using coordinator = await open({ leaseMs: 60_000 });
    await using tab = await enter(coordinator);
    const { page } = tab;
    await page.getByText("No worker has come yet.").waitFor();
    const models = [model("mistral", { state: "requested", bytesDone: 0 })];
    using worker = await joinFleet(coordinator.wsUrl, { id: "gpu-1", cards: [H100], models });
    worker.beat({ ready: false, state: "syncing" });
    const row = rowOf(page, "gpu-1");
    await row.getByText("Fetching models").waitFor();
    await row.getByText("60 / 80 GiB").waitFor();

    worker.model("mistral", { state: "fetching", bytesDone: 3.5e9, rate: 100e6 });
    for (const place of [row, page.locator("#model-rows")])
      await place.getByText("25 % · 100 MB/s · 2 min left").waitFor();
    worker.model("mistral", { state: "ready" });
    worker.beat({ busy: 1 });
    await row.getByText("Ready", { exact: true }).waitFor();
    await row.getByText("1/4").waitFor();
    await page.locator("#model-rows").getByText("1 ready").waitFor();
    await workersTile(page).getByText("1 ready", { exact: true }).waitFor();

    worker.send({ t: "credit", kind: "chat", n: 1 });
    const job = await coordinator.jobs.submit({ kind: "chat", model: "mistral", input: { secret: "xyzzy" } });
    await page.locator("#job-rows").getByText("Running").waitFor();
    const ref = { jobId: job.id, attempt: 1 };
    const error = { code: "INVALID_INPUT" as const, message: "xyzzy", retryable: false };
    worker.send({ t: "job.result", ...ref, status: "failed", error });
    await page.locator("#job-rows").getByText("chat · gpu-1 · INVALID_INPUT").waitFor();
    await page.locator("#tile-jobs").getByText("0 done, 1 failed").waitFor();

    worker.socket.terminate();
    await row.getByText("Not connected").waitFor();
    await page.locator("#alerts").getByText("gpu-1 is not connected").waitFor();
    await expect.poll(() => page.locator("#announcer").textContent()).toBe("gpu-1 is not connected");
    expect(await page.content()).not.toContain("xyzzy");
    expect(tab.complaints).toEqual([]);
  });

  test("tells of lost cards and failed models, and opens whom they concern", async () => {
    await using coordinator = await open();
    using worker = await joinFleet(coordinator.wsUrl, {
      ...{ id: "gpu-1", cards: [H100, H100], models: [model("mistral", { state: "failed", errorCode: "DISK_FULL" })] },
    });
    worker.beat({ seen: 1 });
    await using tab = await enter(coordinator);
    const alerts = tab.page.locator("#alerts");
    await alerts.getByText("GPU 1 of gpu-1 is not seen any more").waitFor();
    await alerts.getByText("mistral failed on gpu-1: DISK_FULL").waitFor();
    await alerts.getByRole("button", { name: "Show gpu-1" }).first().click();
    const sheet = tab.page.getByRole("dialog", { name: "gpu-1" });
    await sheet.getByText("DISK_FULL").waitFor();
    await sheet.getByText("AMD EPYC 9354, 32 cores").waitFor();
    expect(tab.complaints).toEqual([]);
  });

  test("is used by the keyboard alone", async () => {
    await using coordinator = await open();
    const workers = ["ada-1", "ada-2", "h100-1"].map((id) => joinFleet(coordinator.wsUrl, { id, cards: [H100] }));
    for (const worker of await Promise.all(workers)) worker.beat();
    await using tab = await visit(browser);
    const { page } = tab;
    await page.goto(coordinator.url);
    await page.getByLabel("Admin key").waitFor();
    await page.keyboard.type(KEY);
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "h100-1" }).waitFor();

    await page.keyboard.press("/");
    await page.keyboard.type("ada");
    await page.getByText("2 of 3").waitFor();
    expect(await page.getByRole("button", { name: "h100-1" }).count()).toBe(0);
    // The type's own row, the first worker, the second.
    for (let press = 0; press < 3; press += 1) await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    const sheet = page.getByRole("dialog", { name: "ada-2" });
    await sheet.getByRole("heading", { name: "GPUs" }).waitFor();
    await sheet.getByRole("button", { name: "Drain" }).focus();
    await page.keyboard.press("Enter");
    const question = page.getByRole("dialog", { name: "Drain: ada-2?" });
    await question.waitFor();
    // The harmless answer has the focus.
    await page.keyboard.press("Enter");
    await question.waitFor({ state: "hidden" });
    await page.keyboard.press("Escape");
    await sheet.waitFor({ state: "hidden" });
    const focused = () => page.evaluate("document.activeElement.textContent");
    expect(await focused()).toBe("ada-2");
    await page.keyboard.press("/");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "h100-1" }).waitFor();
    await page.getByRole("button", { name: "gpu-worker" }).press("Enter");
    await page.getByRole("button", { name: "h100-1" }).waitFor({ state: "detached" });
    expect(tab.complaints).toEqual([]);
  });

  test("has an address for each worker and each job, which the back button, a reload and a new tab go by", async () => {
    await using coordinator = await open();
    using worker = await joinFleet(coordinator.wsUrl, { id: "gpu/1 ü", models: [model("mistral")] });
    worker.beat();
    const job = await coordinator.jobs.submit({ id: "a job/1", kind: "chat", model: "nobody's", input: {} });
    await using tab = await enter(coordinator);
    const { page } = tab;
    const [atWorker, atJob] = ["#/workers/gpu%2F1%20%C3%BC", "#/jobs/a%20job%2F1"];
    const hash = () => page.evaluate("location.hash");
    const sheet = (name: string) => page.getByRole("dialog", { name });
    await page.getByRole("button", { name: "gpu/1 ü", exact: true }).click();
    await sheet("gpu/1 ü").getByRole("heading", { name: "Engines" }).waitFor();
    expect(await hash()).toBe(atWorker);
    await page.goBack();
    await sheet("gpu/1 ü").waitFor({ state: "hidden" });
    expect(await hash()).toBe("");
    await page.goForward();
    await sheet("gpu/1 ü").waitFor();
    await page.reload();
    await sheet("gpu/1 ü").getByRole("heading", { name: "Engines" }).waitFor();
    await page.keyboard.press("Escape");
    await sheet("gpu/1 ü").waitFor({ state: "hidden" });
    await expect.poll(hash).toBe("");

    await page.locator("#job-rows button").press("Enter");
    await sheet("nobody's").getByText("a job/1").waitFor();
    expect(await hash()).toBe(atJob);
    await page.getByRole("button", { name: "Close" }).click();
    await expect.poll(hash).toBe("");

    // Sent to somebody: the key first, then what the address says, and no way back out of the page but its own.
    await using other = await visit(browser);
    await other.page.goto(coordinator.url + atJob);
    await signIn(other.page);
    await other.page.getByRole("dialog", { name: "nobody's" }).getByText(job.id).waitFor();
    expect(await accessibilityProblems(other.page)).toEqual([]);
    await other.page.keyboard.press("Escape");
    await expect.poll(() => other.page.url()).toBe(`${coordinator.url}/`);
    await other.page.goto(`${coordinator.url}/#/jobs/of-nobody`);
    await other.page.getByText("There is no job of-nobody.").waitFor();
    await other.page.goto(`${coordinator.url}/#/workers/of-nobody`);
    await other.page.getByRole("dialog", { name: "of-nobody" }).getByText("There is no worker of-nobody.").waitFor();
    expect([...tab.complaints, ...other.complaints].filter((text) => !/status of 404/.test(text))).toEqual([]);
  });

  test("shows the jobs that ended at a worker, and opens them", async () => {
    await using coordinator = await open();
    using worker = await joinFleet(coordinator.wsUrl, { id: "gpu-1", models: [model("mistral")] });
    worker.beat();
    worker.send({ t: "credit", kind: "chat", n: 1 });
    const end = async (id: string, change: Partial<WorkerPayload> = {}) => {
      await coordinator.jobs.submit({ id, kind: "chat", model: "mistral", input: { secret: "xyzzy" } });
      await until("it is offered", () => worker.frames.some((frame) => frame.t === "job.offer" && frame.jobId === id));
      const done = { t: "job.result", jobId: id, attempt: 1, status: "done", output: { secret: "xyzzy" } };
      worker.send({ ...done, ...change } as WorkerPayload);
      await until("it has ended", async () => (await coordinator.jobs.get(id))?.finishedAt);
      worker.send({ t: "credit", kind: "chat", n: 1 });
    };
    for (let index = 0; index < 11; index += 1) await end(`job-${index}`);
    await using tab = await enter(coordinator);
    const { page } = tab;
    await page.getByRole("button", { name: "gpu-1", exact: true }).click();
    const sheet = page.getByRole("dialog", { name: "gpu-1" });
    const jobs = sheet.locator("section").filter({ hasText: "Jobs that ended here" });
    const rows = jobs.locator("tbody tr");
    await expect.poll(() => rows.count()).toBe(10);
    await jobs.getByRole("button", { name: "More" }).press("Enter");
    await expect.poll(() => rows.count()).toBe(11);
    // What ends while somebody looks is there at once.
    const error = { code: "OUT_OF_MEMORY", message: "xyzzy", retryable: false };
    await end("bad", { status: "failed", output: undefined, error } as Partial<WorkerPayload>);
    await rows.first().getByText("OUT_OF_MEMORY").waitFor();
    expect(await accessibilityProblems(page)).toEqual([]);
    await rows.first().getByRole("button").press("Enter");
    await page.getByRole("dialog", { name: "mistral" }).getByText("bad", { exact: true }).waitFor();
    await page.goBack();
    await rows.first().getByText("OUT_OF_MEMORY").waitFor();
    expect(await page.content()).not.toContain("xyzzy");
    expect(tab.complaints).toEqual([]);
  });

  test.each([400, 1280])("has workers fetch a model, and drop one, at %i pixels", async (width) => {
    await using coordinator = await open();
    using worker = await joinFleet(coordinator.wsUrl, { id: "gpu-1", models: [model("acme/old")] });
    worker.beat();
    await using tab = await enter(coordinator, { width });
    const { page } = tab;
    await page.getByRole("button", { name: "Add a model" }).press("Enter");
    const question = page.getByRole("dialog", { name: "Add a model" });
    await question.waitFor();
    expect(await overflow(page)).toBe(0);
    expect(await accessibilityProblems(page)).toEqual([]);
    worker.beat({ ready: false, state: "draining" });
    await until("it is known", () => coordinator.workers()[0]?.state === "draining");
    await page.keyboard.type("hf:acme/new");
    await page.keyboard.press("Enter");
    await question.getByRole("alert").getByText("No worker is connected that could be asked.").waitFor();
    worker.beat();
    await until("it is known", () => coordinator.workers()[0]?.state === "ready");
    await question.getByLabel("Worker type").selectOption("gpu-worker");
    await question.getByRole("button", { name: "Ask for it" }).click();
    await question.waitFor({ state: "hidden" });
    await page.getByText("hf:acme/new: 1 worker asked.").waitFor();
    const asked = await until("it is told", () => worker.frames.find(({ t }) => t === "models.ensure"));
    expect(asked).toMatchObject({ models: ["hf:acme/new"] });
    worker.model("hf:acme/new", { state: "fetching", bytesDone: 1e9 });
    const row = page.locator("#model-rows tr").filter({ hasText: "hf:acme/new" });
    await row.getByText("1 fetching").waitFor();

    // Its word is in one line.
    const box = await page.getByRole("button", { name: "Remove acme/old" }).boundingBox();
    expect(box!.width).toBeGreaterThan(box!.height);
    await page.getByRole("button", { name: "Remove acme/old" }).press("Enter");
    const sure = page.getByRole("dialog", { name: "Remove acme/old from all workers?" });
    // The harmless answer has the focus.
    await page.keyboard.press("Enter");
    await sure.waitFor({ state: "hidden" });
    expect(worker.frames.some(({ t }) => t === "models.remove")).toBe(false);
    await page.getByRole("button", { name: "Remove acme/old" }).click();
    await sure.getByRole("button", { name: "Remove" }).click();
    const removed = await until("it is told", () => worker.frames.find(({ t }) => t === "models.remove"));
    expect(removed).toMatchObject({ models: ["acme/old"] });
    await page.getByText("acme/old: 1 worker told to remove it.").waitFor();
    expect(await overflow(page)).toBe(0);
    expect(tab.complaints.filter((text) => !/status of 409/.test(text))).toEqual([]);
  });

  test("goes on by itself after the coordinator was away", async () => {
    const before = await open();
    await using tab = await enter(before);
    const { page } = tab;
    await before.close();
    await page.locator('#connection[data-state="waiting"]').waitFor();
    await using after = await open({ port: before.port });
    using worker = await joinFleet(after.wsUrl, { id: "new-one" });
    worker.beat();
    await live(page);
    await page.getByRole("button", { name: "new-one" }).waitFor();
    expect(tab.complaints.filter((text) => !/net::ERR_/.test(text))).toEqual([]);
  });

  test("shows what workers say of themselves as text", async () => {
    const evil = `<img src=x onerror="document.title='taken'"><script>document.title='taken'</script>`;
    await using coordinator = await open();
    using worker = await joinFleet(coordinator.wsUrl, {
      ...{ id: evil, type: `${evil}type`, cards: [{ ...H100, name: `${evil}card` }] },
      models: [model(`${evil}model`, { state: "failed", errorCode: `${evil}code`, location: `${evil}place` })],
      engines: [{ kind: "vllm", url: `javascript:${evil}`, reachable: true, version: evil }],
    });
    worker.beat();
    await coordinator.jobs.submit({ id: `${evil}id`, kind: "chat", model: `${evil}model`, input: {} });
    await using tab = await enter(coordinator);
    const { page } = tab;
    await page.locator("#job-rows button").click();
    await page.getByText(`${evil}id`).waitFor();
    await page.keyboard.press("Escape");
    await rowOf(page, evil).getByRole("button").click();
    await page.getByText(`javascript:${evil}`).waitFor();
    await page.getByText(`${evil}code`, { exact: true }).waitFor();
    expect(await page.locator("#fleet img, #detail img, body script").count()).toBe(0);
    expect(await page.title()).toBe("muster");
    expect(tab.complaints).toEqual([]);
  });

  test("holds a bounded number of rows, however many workers there are", async () => {
    await using coordinator = await open();
    const workers = [];
    for (let index = 0; index < 2_000; index += 1) {
      const options: FleetWorkerOptions = {
        id: `worker-${index}`,
        type: index % 2 ? "odd" : "even",
        cards: [H100],
        models: [model("m")],
      };
      const worker = await joinFleet(coordinator.wsUrl, options);
      worker.beat();
      workers.push(worker);
    }
    await until("all are there", () => coordinator.workers().filter(({ ready }) => ready).length === 2_000);
    await using tab = await enter(coordinator);
    const { page } = tab;
    await workersTile(page).getByText("2\u202f000 ready", { exact: true }).waitFor();
    const rows = page.locator("#worker-rows tr");
    expect(await rows.count()).toBeLessThanOrEqual(101);
    await page.getByText("Page 1 of 21").waitFor();
    await page.getByRole("button", { name: "Next" }).click();
    await page.getByText("Page 2 of 21").waitFor();
    expect(await rows.count()).toBeLessThanOrEqual(101);
    await page.getByLabel("Search workers").fill("worker-1999");
    await page.getByRole("button", { name: "worker-1999" }).waitFor();
    expect(await rows.count()).toBe(2);
    workers[1999]!.beat({ ready: false, state: "draining" });
    await rowOf(page, "worker-1999").getByText("Draining").waitFor();
    expect(tab.complaints).toEqual([]);
    for (const worker of workers) worker.socket.terminate();
  });

  describe.each([
    { width: 400, height: 800 },
    { width: 1280, height: 800 },
    { width: 3840, height: 2160 },
  ])("at $width pixels", (size) => {
    test.each(["light", "dark"] as const)("%s: fits, and axe finds nothing wrong", async (scheme) => {
      await using coordinator = await open();
      const cards = Array.from({ length: 8 }, () => H100);
      const long = "a-name-without-any-end-".repeat(6);
      using one = await joinFleet(coordinator.wsUrl, { id: "h100-1", cards, models: [model("mistral"), model(long)] });
      one.beat();
      one.model("mistral", { state: "fetching", bytesDone: 1e9, rate: 1e8 });
      using two = await joinFleet(coordinator.wsUrl, {
        id: long,
        cards: [H100],
        models: [model("x", { state: "failed" })],
      });
      two.beat({ ready: false, state: "paused" });
      using three = await joinFleet(coordinator.wsUrl, { id: "gone", type: long });
      three.socket.terminate();
      await coordinator.jobs.submit({ kind: "chat", model: long, input: {} });
      await using tab = await visit(browser, { ...size, scheme });
      const { page } = tab;
      await page.goto(coordinator.url);
      await page.getByLabel("Admin key").waitFor();
      expect(await accessibilityProblems(page)).toEqual([]);
      await signIn(page);
      await live(page);
      await page.locator("#alerts").getByText("gone is not connected").waitFor();
      expect(await overflow(page)).toBe(0);
      expect(await accessibilityProblems(page)).toEqual([]);
      await page.getByRole("button", { name: "h100-1", exact: true }).click();
      await page.getByRole("heading", { name: "Engines" }).waitFor();
      expect(await overflow(page)).toBe(0);
      expect(await accessibilityProblems(page)).toEqual([]);
      await page.getByRole("button", { name: "Drain" }).click();
      await page.getByRole("dialog", { name: "Drain: h100-1?" }).waitFor();
      expect(await accessibilityProblems(page)).toEqual([]);
      expect(tab.complaints).toEqual([]);
    });
  });

  test("is light or dark as the system has it, or as somebody chose", async () => {
    await using coordinator = await open({ clientToken: null, adminToken: null });
    await using tab = await visit(browser, { scheme: "dark" });
    const { page } = tab;
    await page.goto(coordinator.url);
    const background = () => page.evaluate("getComputedStyle(document.body).backgroundColor");
    const dark = await background();
    await page.getByLabel("Colours").selectOption("light");
    const light = await background();
    expect(light).not.toBe(dark);
    await page.reload();
    await live(page);
    expect(await background()).toBe(light);
    await page.getByLabel("Colours").selectOption("system");
    expect(await background()).toBe(dark);
  });

  test("shows older jobs, of one state where somebody asks for it, and what became of one", async () => {
    await using coordinator = await open();
    const submit = (index: number) =>
      coordinator.jobs.submit({ id: `job-${index}`, kind: "chat", model: "m", input: {} });
    for (let index = 0; index < 60; index += 1) await submit(index);
    await coordinator.jobs.cancel("job-3");
    await using tab = await enter(coordinator);
    const { page } = tab;
    const rows = page.locator("#job-rows tr");
    await expect.poll(() => rows.count()).toBe(25);
    await page.getByRole("button", { name: "Older jobs" }).click();
    await expect.poll(() => rows.count()).toBe(50);
    await page.getByLabel("Show jobs").selectOption("cancelled");
    await expect.poll(() => rows.count()).toBe(1);
    await page.getByLabel("Show jobs").selectOption("queued");
    await expect.poll(() => rows.count()).toBe(25);
    await page.getByRole("button", { name: "m, chat, job job-59" }).click();
    await page.getByRole("button", { name: "Cancel the job" }).click();
    await page
      .getByRole("dialog", { name: "Cancel this job?" })
      .getByRole("button", { name: "Cancel the job" })
      .click();
    await page.locator("#detail-sub").getByText("Cancelled").waitFor();
    expect((await coordinator.jobs.get("job-59"))?.state).toBe("cancelled");
    expect(tab.complaints).toEqual([]);
  });
});

test.runIf(CHROMIUM_MISSING)("Chromium is not here: what needs it was skipped", () => {
  expect(CHROMIUM_MISSING).toBe(true);
});
