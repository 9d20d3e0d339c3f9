import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { type CoordinatorOptions, startCoordinator } from "../../../src/coordinator/coordinator.ts";
import { place } from "../../e2e/muster.ts";
import { quietLog } from "../../register/worker.ts";
import { joinFleet } from "./simulated-worker.ts";

const FOLDER = join(import.meta.dirname, "../../../src/coordinator/dashboard/page");

async function setUp(options: Partial<CoordinatorOptions> = {}) {
  const coordinator = await startCoordinator({
    ...{ host: "127.0.0.1", port: 0, workerToken: null, clientToken: "client-token", adminToken: "admin-token" },
    log: quietLog,
    ...options,
  });
  const ask = (path: string, { token, ...init }: RequestInit & { token?: string } = {}) =>
    fetch(coordinator.url + path, {
      ...init,
      headers: { ...init.headers, ...(token && { authorization: `Bearer ${token}` }) },
    });
  return { coordinator, ask, [Symbol.asyncDispose]: () => coordinator.close() };
}

test("the page and all its files are served to anyone, and to no other page", async () => {
  await using api = await setUp();
  const names = readdirSync(FOLDER).filter((name) => !/^index\.html$|json$/.test(name));
  expect(names.length).toBeGreaterThan(10);
  for (const path of ["/", ...names.map((name) => `/assets/${name}`)]) {
    const answer = await api.ask(path);
    expect([path, answer.status]).toEqual([path, 200]);
    const policy = answer.headers.get("content-security-policy")!;
    expect(policy).toMatch(/^default-src 'none'; .*frame-ancestors 'none'$/);
    expect(policy).not.toContain("unsafe");
    expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
    expect(answer.headers.get("referrer-policy")).toBe("no-referrer");
    expect(answer.headers.get("content-type")).toMatch(
      path === "/"
        ? /^text\/html/
        : /\.js$/.test(path)
          ? /^text\/javascript/
          : /\.css$/.test(path)
            ? /^text\/css/
            : /^image\/svg/,
    );
    await answer.arrayBuffer();
  }
});

test("the bundle serves the same page", async () => {
  using here = place();
  const folder = join(here.folder, "dist");
  await promisify(execFile)(process.execPath, [join(FOLDER, "../../../../scripts/build.ts"), folder]);
  // As an image has it: the bundle, and no sources.
  const command = [join(folder, "muster.js"), "coordinator", "--listen", "127.0.0.1:0"];
  const child = spawn(process.execPath, command, {
    env: { ...here.env, LOG_FILE: "none" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    let text = "";
    for await (const piece of child.stdout) {
      text += piece;
      if (/listens on (\S+);/.test(text)) break;
    }
    const [, url] = /listens on (\S+);/.exec(text)!;
    for (const name of readdirSync(FOLDER).filter((name) => !/^index\.html$|json$/.test(name))) {
      const answer = await fetch(`${url}/assets/${name}`);
      expect([name, await answer.text()]).toEqual([name, readFileSync(join(FOLDER, name), "utf8")]);
    }
    expect(await (await fetch(url!)).text()).toContain('src="/assets/main.js"');
  } finally {
    child.kill("SIGTERM");
    await once(child, "close");
  }
});

test("what a browser has is not sent again", async () => {
  await using api = await setUp();
  const first = await api.ask("/");
  const etag = first.headers.get("etag")!;
  await first.arrayBuffer();
  for (const known of [etag, `"other", W/${etag}`]) {
    const again = await api.ask("/", { headers: { "if-none-match": known } });
    expect([again.status, await again.text()]).toEqual([304, ""]);
  }
  const other = await api.ask("/", { headers: { "if-none-match": '"other"' } });
  expect(other.status).toBe(200);
  await other.arrayBuffer();
});

test.each([
  "/assets/",
  "/assets/nothing.js",
  "/assets/tsconfig.json",
  "/assets/index.html",
  "/assets/..%2Fpage-files.ts",
  "/assets/%2e%2e%2ffleet-feed.ts",
])("%s is not served", async (path) => {
  await using api = await setUp();
  const answer = await api.ask(path, { token: "admin-token" });
  expect(answer.status).toBe(404);
  await answer.arrayBuffer();
});

test("nothing in the page is inline or from elsewhere, and no text becomes markup", () => {
  const html = readFileSync(join(FOLDER, "index.html"), "utf8");
  expect(html).not.toMatch(/<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|https?:/);
  for (const name of readdirSync(FOLDER).filter((name) => name.endsWith(".js"))) {
    const text = readFileSync(join(FOLDER, name), "utf8");
    expect(`${name}: ${/\.innerHTML\s*=|insertAdjacentHTML|outerHTML\s*=|document\.write|\beval\(/.test(text)}`).toBe(
      `${name}: false`,
    );
  }
});

test.each(["/v1/fleet/events", "/v1/fleet/jobs"])("%s is for administrators", async (path) => {
  await using api = await setUp();
  const given = [undefined, "wrong", "client-token"].map((token) => api.ask(path, { token }));
  const answers = await Promise.all(given);
  expect(answers.map(({ status }) => status)).toEqual([401, 401, 403]);
  await Promise.all(answers.map((answer) => answer.arrayBuffer()));
});

test("the feed comes as events", async () => {
  await using api = await setUp();
  using worker = await joinFleet(api.coordinator.wsUrl, { id: "gpu-1" });
  worker.beat();
  const stop = new AbortController();
  const answer = await api.ask("/v1/fleet/events", { token: "admin-token", signal: stop.signal });
  expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "text/event-stream; charset=utf-8"]);
  let text = "";
  for await (const piece of answer.body!.pipeThrough(new TextDecoderStream())) {
    text += piece;
    if (text.includes('"ready":true')) break;
  }
  stop.abort();
  expect(text).toMatch(/^event: hello\ndata: \{.*\}\n\n/);
  expect(text).toContain('"id":"gpu-1"');
});

test("jobs are listed without what is in them", async () => {
  await using api = await setUp();
  const { id } = await api.coordinator.jobs.submit({ kind: "chat", model: "m", input: { secret: "xyzzy" } });
  const other = await api.coordinator.jobs.submit({ kind: "ocr", model: "n", input: {} });
  await api.coordinator.jobs.cancel(other.id);
  const list = async (query: string) => {
    const answer = await api.ask(`/v1/fleet/jobs${query}`, { token: "admin-token" });
    const text = await answer.text();
    expect(text).not.toContain("xyzzy");
    return { status: answer.status, ids: (JSON.parse(text).data ?? []).map((job: { id: string }) => job.id) };
  };
  expect(await list("")).toEqual({ status: 200, ids: [other.id, id] });
  expect(await list("?state=queued")).toEqual({ status: 200, ids: [id] });
  expect(await list(`?limit=1&after=${other.id}`)).toEqual({ status: 200, ids: [id] });
  expect(await list("?worker=nobody")).toEqual({ status: 200, ids: [] });
  expect(await list("?endedAt=nobody")).toEqual({ status: 200, ids: [] });
  expect(await list(`?id=${id}`)).toEqual({ status: 200, ids: [id] });
  expect(await list("?id=nobody")).toEqual({ status: 200, ids: [] });
  expect(await list("?state=lost")).toMatchObject({ status: 400 });
});
