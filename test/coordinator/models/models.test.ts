import { expect, test } from "vitest";
import { startCoordinator } from "../../../src/coordinator/coordinator.ts";
import type { ModelView } from "../../../src/coordinator/models/model-view.ts";
import type { ModelReport } from "../../../src/protocol.ts";
import { quietLog } from "../../register/worker.ts";
import { until } from "../../until.ts";
import { beat, hello, openRawWorker, type RawWorker } from "../raw-worker.ts";

type Hello = ReturnType<typeof hello>;

async function setUp() {
  const peer = await startCoordinator({
    ...{ host: "127.0.0.1", port: 0, workerToken: null, clientToken: null, beatMs: 50, log: quietLog, leaseMs: 2_000 },
  });
  const call = async (method: string, path: string, body?: unknown) => {
    const text = typeof body === "string" ? body : body && JSON.stringify(body);
    const response = await fetch(peer.url + path, { method, body: text as string | undefined });
    return { status: response.status, headers: response.headers, body: (await response.json()) as ModelView };
  };
  return {
    ...{ peer, call },
    post: (body: unknown) => call("POST", "/v1/models", body),
    show: async (name: string) => (await call("GET", `/v1/models/${name}`)).body,
    async join(workerId: string, change: Partial<Hello> = {}): Promise<RawWorker> {
      const worker = await openRawWorker(peer.wsUrl);
      worker.send(hello({ workerId, bootId: `boot-of-${workerId}`, ...change }));
      await until("it is welcome", () => worker.frames.some(({ t }) => t === "welcome"));
      return worker;
    },
    [Symbol.asyncDispose]: () => peer.close(),
  };
}

const ensures = ({ frames }: RawWorker) => frames.filter(({ t }) => t === "models.ensure");

function report(model: string, change: Partial<ModelReport> = {}): ModelReport {
  return {
    ...{ model, source: "huggingface", location: model.replace(/^hf:/, ""), variant: "only", revision: "main" },
    ...{ required: false, state: "fetching", bytesDone: 1, bytesTotal: 2, rate: 3, errorCode: null },
    ...change,
  };
}

const tell = (worker: RawWorker, ...said: Parameters<typeof report>) =>
  worker.send({ t: "model.state", ...report(...said) });

const withMemory = (memoryFreeMiB: number): Partial<Hello> => ({
  hardware: {
    ...hello().hardware,
    gpus: [
      {
        ...{ index: 0, name: "Test GPU", uuid: "GPU", vendor: "nvidia", memoryTotalMiB: 24_000, memoryFreeMiB },
        ...{ mig: false, unified: false, computeCapability: "8.6" },
      },
    ],
  },
});

test("the worker with the most free memory is asked; the next one where it cannot", async () => {
  await using api = await setUp();
  using small = await api.join("small", withMemory(4_000));
  using large = await api.join("large", withMemory(20_000));
  using middle = await api.join("middle", withMemory(12_000));
  const { status, headers, body } = await api.post({ model: "hf:acme/tiny@main", task: "embedding", context: 512 });
  expect([status, headers.get("location")]).toEqual([202, "/v1/models/hf%3Aacme%2Ftiny"]);
  expect(body).toEqual({
    ...{ id: "hf:acme/tiny", object: "model.request", state: "requested", error: null },
    createdAt: expect.any(String),
    workers: [{ id: "large", connected: true, state: "requested", bytesDone: 0, bytesTotal: 0, rate: 0, error: null }],
  });
  await until("it is asked", () => ensures(large).length === 1);
  expect(ensures(large)[0]).toMatchObject({
    models: ["hf:acme/tiny"],
    options: { "hf:acme/tiny": { task: "embedding", context: 512 } },
  });
  tell(large, "hf:acme/tiny", { state: "failed", errorCode: "NOTHING_FITS", error: "needs 30 GiB" });
  await until("the next one is asked", () => ensures(middle).length === 1);
  tell(middle, "hf:acme/tiny", { state: "failed", errorCode: "MODEL_NOT_ALLOWED" });
  await until("the last one is asked", () => ensures(small).length === 1);
  for (const [told, shown] of [
    ["fetching", "fetching"],
    ["stored", "stored"],
    ["loading", "loading"],
    ["ready", "succeeded"],
  ] as const) {
    tell(small, "hf:acme/tiny", { state: told });
    await until(`it is ${shown}`, async () => (await api.show("acme-tiny")).state === shown);
  }
  const { workers } = await api.show("hf:acme/tiny");
  expect(workers.map(({ id, error }) => [id, error])).toEqual([
    ["large", { code: "NOTHING_FITS", message: "needs 30 GiB" }],
    ["middle", { code: "MODEL_NOT_ALLOWED", message: "MODEL_NOT_ALLOWED" }],
    ["small", null],
  ]);
});

test("when all have refused it has failed; asked again, an old refusal is no answer", async () => {
  await using api = await setUp();
  using worker = await api.join("only");
  await api.post({ model: "tiny" });
  await until("it is asked", () => ensures(worker).length === 1);
  const refusal = { state: "failed", errorCode: "NOTHING_FITS", error: "too large" } as const;
  tell(worker, "tiny", refusal);
  const failed = await until("it has failed", async () => {
    const shown = await api.show("tiny");
    return shown.state === "failed" && shown;
  });
  expect(failed.error).toEqual({ code: "NOTHING_FITS", message: "too large" });
  expect((await api.post({ model: "tiny" })).body).toMatchObject({ state: "requested", error: null });
  await until("it is asked again", () => ensures(worker).length === 2);
  tell(worker, "tiny", refusal);
  await until("it has failed again", async () => (await api.show("tiny")).state === "failed");
  // What passes by itself, or would be the same elsewhere, is not asked of others.
  using other = await api.join("other");
  await api.post({ model: "hf:acme/gated", worker_type: "chat" });
  const asked = await until("one is asked", () =>
    [worker, other].find(
      (each) =>
        ensures(each).at(-1)?.t &&
        ensures(each).some((frame) => "models" in frame && frame.models.includes("hf:acme/gated")),
    ),
  );
  tell(asked, "hf:acme/gated", { state: "failed", errorCode: "MODEL_GATED" });
  await until("it has failed", async () => (await api.show("hf:acme/gated")).state === "failed");
  expect((await api.show("hf:acme/gated")).workers).toHaveLength(1);
});

test("several workers: by name, or by number and type", async () => {
  await using api = await setUp();
  using a = await api.join("a");
  using b = await api.join("b");
  using c = await api.join("c", { workerType: "ocr" });
  await api.post({ model: "named", workers: ["a", "c"] });
  await api.post({ model: "counted", count: 2, worker_type: "chat" });
  await until("all are asked", () => [a, b, c].flatMap(ensures).length === 4);
  expect([a, b, c].map((each) => ensures(each).length)).toEqual([2, 1, 1]);
  tell(a, "named", { state: "ready" });
  tell(c, "named", { state: "loading" });
  await until("the slower one counts", async () => (await api.show("named")).state === "loading");
  tell(c, "named", { state: "failed", errorCode: "ENGINE_FAILED", error: "it broke" });
  await until("all are needed", async () => (await api.show("named")).state === "failed");
  expect((await api.show("named")).error).toEqual({ code: "ENGINE_FAILED", message: "it broke" });
});

test("who comes back without it is asked again; who remembers it is not", async () => {
  await using api = await setUp();
  {
    using worker = await api.join("only");
    await api.post({ model: "tiny" });
    await until("it is asked", () => ensures(worker).length === 1);
  }
  await until("it is gone", () => !api.peer.workers()[0]!.connected);
  expect((await api.show("tiny")).workers).toMatchObject([{ id: "only", connected: false, state: "requested" }]);
  {
    using again = await api.join("only", { bootId: "second" });
    await until("it is asked again", () => ensures(again).length === 1);
  }
  using knows = await api.join("only", { bootId: "third", models: [report("tiny", { state: "ready" })] });
  await until("it has it", async () => (await api.show("tiny")).state === "succeeded");
  knows.send(beat(1));
  await until("a beat", () => knows.frames.some(({ t }) => t === "beat.ack"));
  expect(ensures(knows)).toEqual([]);
});

test("a model is found by other names, also where nobody asked for it, and is removed where it is", async () => {
  await using api = await setUp();
  const models = [report("mistral", { location: "acme/big", asked: ["hf:acme/big"], state: "ready" })];
  using has = await api.join("has", { models });
  using _hasNot = await api.join("has-not");
  for (const name of ["mistral", "acme/big", "acme%2Fbig", "acme-big", "hf:acme/big", "hf:acme-big"]) {
    expect(await api.show(name)).toMatchObject({
      ...{ id: "mistral", object: "model", state: "succeeded", createdAt: null },
      workers: [{ id: "has" }],
    });
  }
  const removal = await api.call("DELETE", "/v1/models/acme-big");
  expect(removal).toMatchObject({
    status: 202,
    body: { object: "model.removal", id: "mistral", workers: [{ id: "has", told: true }] },
  });
  const order = await until("it is told", () => has.frames.find(({ t }) => t === "models.remove"));
  expect(order).toMatchObject({ models: ["mistral"] });
  has.send({ t: "model.state", ...models[0]!, state: "failed", removed: true });
  await until("it is gone", async () => (await api.call("GET", "/v1/models/mistral")).status === 404);
  expect(api.peer.workers().flatMap((worker) => worker.models)).toEqual([]);
  expect((await api.call("DELETE", "/v1/models/mistral")).status).toBe(404);
});

test.each<[unknown, number, string]>([
  ["not json", 400, "invalid_request"],
  [{}, 400, "model"],
  [{ model: "hf:a/b", unknown: 1 }, 400, "unknown"],
  [{ model: "a/b/c", source: "huggingface" }, 400, "model: allowed are"],
  [{ model: "tiny", revision: "v2" }, 400, "model: allowed are"],
  [{ model: "file:///etc", source: "s3" }, 400, "model: allowed are"],
  [{ model: "tiny", workers: ["only"], count: 2 }, 400, "workers"],
  [{ model: "tiny", workers: ["nobody"] }, 404, "There is no worker nobody."],
  [{ model: "tiny", worker_type: "ocr" }, 409, "No worker of type ocr is connected"],
])("POST %j is answered with %i", async (body, status, message) => {
  await using api = await setUp();
  using _worker = await api.join("only");
  const answer = await api.post(body);
  expect(answer.status).toBe(status);
  expect(JSON.stringify(answer.body)).toContain(message);
});

test("fields of the source make the reference", async () => {
  await using api = await setUp();
  using _worker = await api.join("only");
  for (const [body, id] of [
    [{ model: "acme/tiny", source: "huggingface", revision: "v2" }, "hf:acme/tiny@v2"],
    [{ model: "llama3.2:latest", source: "ollama" }, "ollama:llama3.2"],
    [{ model: "s3://models/tiny/", source: "s3" }, "s3://models/tiny"],
    [{ model: "tiny" }, "tiny"],
  ] as const) {
    expect((await api.post(body)).body.id).toBe(id);
  }
  expect((await api.call("PUT", "/v1/models/tiny")).status).toBe(405);
  expect((await api.call("GET", "/v1/models/none")).status).toBe(404);
});
