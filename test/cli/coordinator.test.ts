import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "vitest";
import type { WorkerView } from "../../src/coordinator/coordinator.ts";
import { place, runMuster, startMuster } from "../e2e/muster.ts";
import { startMiniLmHub } from "../e2e/services.ts";
import { until } from "../until.ts";

const TOKEN = "coordinator-secret-0123456789";

test.concurrent("muster coordinator takes a worker in, lists it, and sends it away when it stops", async ({
  expect,
}) => {
  await using hub = await startMiniLmHub();
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, COORDINATOR_TOKEN: TOKEN });
  await using coordinator = startMuster(["coordinator", "--listen", "127.0.0.1:0"], here.env);
  const line = await coordinator.line(/workers connect with COORDINATOR_URL=/);
  const [, url, wsUrl] = /listens on (http:\S+); workers connect with COORDINATOR_URL=(ws:[^\s,]+)/.exec(line) ?? [];
  expect(line).toContain(`the dashboard is at ${url}/`);
  expect((await fetch(`${url}/`)).headers.get("content-type")).toContain("text/html");
  await using agent = startMuster(["start"], { ...here.env, COORDINATOR_URL: wsUrl });
  const list = () => fetch(`${url}/v1/workers`, { headers: { authorization: `Bearer ${TOKEN}` } });
  const worker = await until(
    "the worker is ready",
    async () => ((await (await list()).json()) as { data: WorkerView[] }).data.find(({ ready }) => ready),
    45_000,
  );
  expect(worker).toMatchObject({ workerType: "embedding", connected: true, state: "ready" });
  expect((await fetch(`${url}/v1/workers`)).status).toBe(401);
  coordinator.kill("SIGTERM");
  expect((await coordinator.exited).code).toBe(0);
  await agent.line(/connection to the coordinator was closed \(1012/);
  expect([...coordinator.stdout, ...coordinator.stderr].join("\n")).not.toContain(TOKEN);
});

test.concurrent("it is open to other machines with a token only", async ({ expect }) => {
  const { code, stderr } = await runMuster(["coordinator", "--listen", "0.0.0.0:0"], {});
  expect(code).toBe(78);
  expect(stderr).toMatch(/^error CONFIG_INVALID: The coordinator would listen on 0\.0\.0\.0 without a token/m);
});

test.concurrent("a database that cannot be opened is told of in words", async ({ expect }) => {
  using here = place();
  const text = join(here.folder, "notes.txt");
  writeFileSync(text, "These are notes, and no database. ".repeat(10));
  const foreign = join(here.folder, "foreign.db");
  const database = new DatabaseSync(foreign);
  database.exec("CREATE TABLE jobs (title TEXT)");
  database.close();
  const missing = join(here.folder, "missing", "jobs.db");
  const cases: [path: string, why: RegExp, hint: string][] = [
    ["/proc/x.db", /this user may not write it/, "muster coordinator --store ./jobs.db"],
    [here.folder, /it is a folder/, `muster coordinator --store ${here.folder}/jobs.db`],
    [missing, /its folder does not exist/, `mkdir -p ${here.folder}/missing`],
    [text, /it is no SQLite database/, `mv ${text} ${text}.old`],
    [foreign, /it is another program's database/, `mv ${foreign} ${foreign}.old`],
  ];
  for (const [path, why, hint] of cases) {
    const { code, stderr } = await runMuster(["coordinator", "--listen", "127.0.0.1:0", "--store", path], here.env);
    expect(code, path).toBe(78);
    expect(stderr).toContain(`error CONFIG_INVALID: The database ${path} cannot be opened: `);
    expect(stderr).toMatch(why);
    expect(stderr).toContain(hint);
    expect(stderr).not.toContain("    at ");
  }
});

test.concurrent("a database is one coordinator's alone, and free at once when that is killed", async ({ expect }) => {
  using here = place();
  const path = join(here.folder, "jobs.db");
  const args = ["coordinator", "--listen", "127.0.0.1:0", "--store", path];
  await using first = startMuster(args, here.env);
  await first.line(/The coordinator listens/);
  const { code, stderr } = await runMuster(args, here.env);
  expect(code).toBe(78);
  expect(stderr).toContain(`error CONFIG_INVALID: The database ${path} cannot be opened: another coordinator has it.`);
  expect(stderr).toContain(`fuser -v ${path}`);
  first.kill("SIGKILL");
  await first.exited;
  await using next = startMuster(args, here.env);
  await next.line(/The coordinator listens/);
});

test.concurrent("beats that no worker keeps, and leases that end before a beat, are wrong usage", async ({
  expect,
}) => {
  const cases: [flags: string[], message: string, hint: string][] = [
    [["--beat-ms", "700000"], '--beat-ms is "700000"; allowed: whole milliseconds, 20 to 600000.', "--beat-ms 10000"],
    [
      ["--beat-ms", "50000", "--lease-ms", "100"],
      "--lease-ms is 100; with --beat-ms 50000 it has to be more than 125000 (2.5 beats).",
      "muster coordinator --beat-ms 50000 --lease-ms 225000",
    ],
    [
      ["--beat-ms", "18000"],
      "--lease-ms is 45000; with --beat-ms 18000 it has to be more than 45000",
      "--lease-ms 81000",
    ],
  ];
  for (const [flags, message, hint] of cases) {
    const { code, stderr } = await runMuster(["coordinator", "--listen", "127.0.0.1:0", ...flags], {});
    expect(code, flags.join(" ")).toBe(64);
    expect(stderr).toContain(`error USAGE: ${message}`);
    expect(stderr).toContain(hint);
  }
});
