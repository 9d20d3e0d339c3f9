import { once } from "node:events";
import { readdirSync, renameSync, statSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, expect, it, onTestFinished } from "vitest";
import { startLocalApi } from "../../src/serve/local-api.ts";
import { temporaryFolder } from "../store/temporary-folder.ts";
import { until } from "../until.ts";
import { chatAnswer, FakeEngine, holding } from "./fake-engine.ts";
import { CHAT, modelSpec, serving } from "./serving.ts";

/** The API of a worker's socket, and how to ask it. */
async function localApi(options: Parameters<typeof serving>[0] = {}, folder = temporaryFolder()) {
  const { board, server, engine, lines, log } = serving(options);
  const orders: string[] = [];
  const engineOf = () => null;
  const onCommand = (name: string) => void orders.push(name);
  const api = await startLocalApi({ folder, jobs: server, board, log, engineOf, onCommand });
  onTestFinished(() => api.close());
  const open = (method: string, path: string, body?: string | Buffer) => {
    const asking = request({ socketPath: api.path ?? "", method, path, agent: false });
    asking.on("error", () => undefined);
    asking.end(body);
    return asking;
  };
  const ask = async (method: string, path: string, body?: string | Buffer) => {
    const [response] = await once(open(method, path, body), "response");
    return { status: response.statusCode, body: await text(response) };
  };
  const run = async (job: unknown) => {
    const { body } = await ask("POST", "/jobs", JSON.stringify(job));
    return body
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
  };
  return { board, server, engine, lines, orders, api, folder, open, ask, run };
}

describe("the socket", () => {
  it("is this user's only, and gone when closed", async () => {
    const { api, folder } = await localApi();
    expect(statSync(api.path!).mode & 0o777).toBe(0o600);
    await api.close();
    expect(readdirSync(folder)).toEqual([]);
  });

  it("that a killed agent left is removed, another's is not", async () => {
    const folder = temporaryFolder();
    const dead = createServer().listen(join(folder, "agent-00000000.sock"));
    await once(dead, "listening");
    renameSync(join(folder, "agent-00000000.sock"), join(folder, "agent-dead0000.sock"));
    await new Promise((resolve) => dead.close(resolve));
    const first = await localApi({}, folder);
    const second = await localApi({}, folder);
    expect(
      readdirSync(folder)
        .map((name) => join(folder, name))
        .toSorted(),
    ).toEqual([first.api.path, second.api.path].toSorted());
  });

  it("that cannot be made is warned of, and missed by nobody", async () => {
    const { api, lines } = await localApi({}, "/proc/self");
    expect(api.path).toBeNull();
    expect(lines).toMatchObject([{ level: 40, msg: expect.stringContaining("There is no socket for `muster run`") }]);
  });
});

describe("a job", () => {
  it("is answered in pieces, then whole", async () => {
    const engine = new FakeEngine(async ({ call }) => {
      await call.onChunk?.({ a: 1 });
      await call.onChunk?.({ a: "\u2028\n" });
      return chatAnswer("Hello");
    });
    const { run } = await localApi({ engine });
    const outcome = { outcome: expect.objectContaining({ status: "done", output: chatAnswer("Hello").output }) };
    expect(await run({ kind: "chat", model: "tiny", input: CHAT, stream: true })).toEqual([
      { chunk: { a: 1 } },
      { chunk: { a: "\u2028\n" } },
      outcome,
    ]);
    expect(await run({ kind: "chat", input: CHAT })).toEqual([outcome]);
    expect(engine.asked.map(({ model }) => model.id)).toEqual(["tiny", "tiny"]);
  });

  it("waits for who reads it", async () => {
    let waits = 0;
    const engine = new FakeEngine(async ({ call }) => {
      for (let n = 0; n < 200; n += 1) {
        const wait = call.onChunk?.([n, "a".repeat(2 ** 16)]);
        waits += wait ? 1 : 0;
        await wait;
      }
      return chatAnswer("");
    });
    const { run } = await localApi({ engine });
    const lines = await run({ kind: "chat", input: CHAT, stream: true });
    expect(lines.slice(0, -1).map(({ chunk }) => chunk[0])).toEqual([...Array(200).keys()]);
    expect(waits).toBeGreaterThan(0);
  });

  it.each<[string, unknown, string, string]>([
    [
      "of a model that is not here",
      { kind: "chat", model: "huge", input: CHAT },
      "UNSUPPORTED",
      "No model of this worker",
    ],
    ["of a kind that nothing here takes", { kind: "ocr", input: {} }, "UNSUPPORTED", "No model of this worker"],
    ["of no kind", { kind: "song" }, "INVALID_INPUT", "kind: "],
    ["without sense", "{", "INVALID_INPUT", "input: expected object"],
    ["with a wrong input", { kind: "chat", input: {} }, "INVALID_INPUT", "messages: "],
  ])("%s fails and says why", async (_what, job, code, message) => {
    const { run, ask } = await localApi();
    const lines = typeof job === "string" ? [JSON.parse((await ask("POST", "/jobs", job)).body)] : await run(job);
    expect(lines).toEqual([
      { outcome: expect.objectContaining({ status: "failed", error: expect.objectContaining({ code }) }) },
    ]);
    expect(lines[0].outcome.error.message).toContain(message);
  });

  it("over the bound is PAYLOAD_TOO_LARGE", async () => {
    const { ask } = await localApi();
    const { body } = await ask("POST", "/jobs", Buffer.alloc(49 * 2 ** 20, 0x20));
    expect(JSON.parse(body)).toMatchObject({ outcome: { error: { code: "PAYLOAD_TOO_LARGE" } } });
  });

  it("is cancelled when whoever asked goes, and its slot is free", async () => {
    const { script } = holding();
    const { open, server, engine, ask, run } = await localApi({
      slots: { chat: 1 },
      engine: new FakeEngine(script),
      models: [modelSpec("tiny")],
    });
    const asking = open("POST", "/jobs", JSON.stringify({ kind: "chat", input: CHAT }));
    await until("the engine works", () => engine.working);
    expect(JSON.parse((await ask("GET", "/jobs")).body)).toEqual({
      state: "ready",
      ready: true,
      slots: { chat: 1 },
      slotsFree: { chat: 0 },
      jobs: [expect.objectContaining({ jobId: expect.stringMatching(/^local-/), model: "tiny", chunks: 0 })],
    });
    expect(await run({ kind: "chat", input: CHAT })).toMatchObject([{ outcome: { error: { code: "BUSY" } } }]);
    asking.destroy();
    await server.idle();
    expect([engine.working, server.slotsFree.chat]).toEqual([0, 1]);
  });
});

it("orders are passed on", async () => {
  const { ask, orders } = await localApi();
  for (const name of ["pause", "resume", "drain"]) expect((await ask("POST", `/${name}`)).status).toBe(202);
  expect(orders).toEqual(["pause", "resume", "drain"]);
  expect((await ask("GET", "/pause")).status).toBe(404);
  expect(orders).toHaveLength(3);
});
