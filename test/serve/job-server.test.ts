import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type JobOutcome, jobError } from "../../src/job.ts";
import type { Task } from "../../src/model.ts";
import type { JobErrorCode } from "../../src/protocol.ts";
import { until } from "../until.ts";
import { chatAnswer, FakeEngine, holding } from "./fake-engine.ts";
import { CHAT, calls, chatJob, modelSpec, serving, taken } from "./serving.ts";

const abortedBy = (code: JobErrorCode) => jobError(code, "Given up.", "Nothing.");

describe("a job is turned away at once", () => {
  type Here = ReturnType<typeof serving>;
  it.each<[JobErrorCode, string, (here: Here) => void, Parameters<typeof chatJob>[0]]>([
    ["DRAINING", "while draining", ({ board }) => board.update({ state: "draining" }), { model: "nobody's" }],
    ["UNSUPPORTED", "for a model that is not here", () => undefined, { model: "huge" }],
    ["UNSUPPORTED", "for a kind without slots", () => undefined, { kind: "completion" }],
    ["UNSUPPORTED", "for a kind that the model does not take", () => undefined, { kind: "ocr" }],
    ["MODEL_NOT_READY", "while the model loads", ({ board }) => board.setModel("tiny", { state: "loading" }), {}],
    ["MODEL_NOT_READY", "where it failed", ({ board }) => board.setModel("tiny", { state: "failed" }), {}],
    ["GPU_LOST", "when a GPU is gone", ({ board }) => board.update({ lostGpus: ["GPU-1"] }), {}],
    ["BUSY", "while paused", ({ board }) => board.update({ state: "paused" }), {}],
    [
      "MODEL_NOT_READY",
      "while another model is missing",
      ({ board }) => board.setModel("b", { state: "fetching" }),
      {},
    ],
  ])("%s %s", (code, _when, change, job) => {
    const here = serving({ slots: { chat: 1, ocr: 1 } });
    change(here);
    expect(here.server.start(chatJob(job), calls())).toBe(code);
    expect(here.engine.asked).toEqual([]);
    expect(here.board.current.jobs).toEqual([]);
  });

  it("MODEL_NOT_READY before models were chosen, and without an engine for the model", () => {
    const { board, server } = serving({ engineOf: () => null });
    expect(server.start(chatJob(), calls())).toBe("MODEL_NOT_READY");
    expect(server.slotsFree).toEqual({ chat: 0 });
    server.serve([], { chat: 1 });
    board.setModel("tiny", { state: "ready" });
    expect(server.start(chatJob(), calls())).toBe("MODEL_NOT_READY");
  });

  it("BUSY without a slot of its kind, or of its model", async () => {
    const { script, release } = holding();
    const { server } = serving({
      slots: { chat: 3, completion: 1 },
      models: [modelSpec("tiny", { slots: 2 }), modelSpec("other")],
      engine: new FakeEngine(script),
    });
    const running = [
      taken(server.start(chatJob(), calls())),
      taken(server.start(chatJob({ kind: "completion", input: { prompt: "a" } }), calls())),
    ];
    expect(server.slotsFree).toEqual({ chat: 2, completion: 0 });
    // Both kinds take of the model's slots.
    expect(server.start(chatJob(), calls())).toBe("BUSY");
    running.push(taken(server.start(chatJob({ model: "other" }), calls())));
    running.push(taken(server.start(chatJob({ model: "other" }), calls())));
    expect(server.start(chatJob({ model: "other" }), calls())).toBe("BUSY");
    expect(server.slotsFree).toEqual({ chat: 0, completion: 0 });
    release();
    await Promise.all(running);
    expect(server.slotsFree).toEqual({ chat: 3, completion: 1 });
  });
});

describe("models", () => {
  it.each<[string, string]>([
    ["tiny", "tiny"],
    ["acme/tiny", "tiny"],
    ["llama3.2", "llama"],
    ["llama3.2:latest", "llama"],
    ["llama", "llama"],
  ])("are asked for as %s", async (name, id) => {
    const models = [modelSpec("tiny"), modelSpec("llama", { source: "ollama", location: "llama3.2" })];
    const { server, engine } = serving({ models });
    await taken(server.start(chatJob({ model: name }), calls()));
    expect(engine.asked[0]?.model.id).toBe(id);
  });

  it.each<[Task, string[]]>([
    ["chat", ["chat", "completion"]],
    ["completion", ["completion"]],
    ["vision", ["chat", "ocr"]],
    ["ocr", ["chat", "ocr"]],
    ["embedding", ["embedding"]],
    ["rerank", []],
  ])("for %s take %j, and no other kind is offered", (task, kinds) => {
    const { server } = serving({
      slots: { chat: 1, completion: 1, embedding: 1, ocr: 1 },
      models: [modelSpec("tiny", { task })],
    });
    expect(Object.keys(server.slots)).toEqual(kinds);
    expect(server.slotsFree).toEqual(Object.fromEntries(kinds.map((kind) => [kind, 1])));
    expect(server.modelFor("embedding")).toBe(task === "embedding" ? "tiny" : null);
  });
});

it("where none is named the first that is ready is meant, or else the first", () => {
  const { board, server } = serving({ models: [modelSpec("a"), modelSpec("b")] });
  board.setModel("a", { state: "loading" });
  expect(server.modelFor("chat")).toBe("b");
  board.setModel("b", { state: "loading" });
  expect(server.modelFor("chat")).toBe("a");
});

describe("free slots", () => {
  it("are none while the board says so, and who listens hears of each change once", async () => {
    const { board, server } = serving({ slots: { chat: 4 }, models: [modelSpec("tiny", { slots: 3 })] });
    const heard: unknown[] = [];
    await Promise.resolve();
    const unsubscribe = server.onSlots(() => heard.push(server.slotsFree.chat));
    board.update({ state: "paused" });
    await Promise.resolve();
    board.update({ state: "syncing" });
    await Promise.resolve();
    board.setModel("tiny", { state: "stored" });
    board.setModel("tiny", { rate: 7 });
    await Promise.resolve();
    board.setModel("tiny", { state: "ready" });
    board.setModel("tiny", { state: "stored" });
    board.setModel("tiny", { state: "ready" });
    await Promise.resolve();
    board.update({ lostGpus: ["GPU-1"] });
    await Promise.resolve();
    board.update({ lostGpus: [] });
    await Promise.resolve();
    board.update({ state: "draining" });
    await Promise.resolve();
    expect(heard).toEqual([0, 3, 0, 3, 0, 3, 0]);
    unsubscribe();
    board.update({ state: "syncing" });
    await Promise.resolve();
    expect(heard).toHaveLength(7);
  });

  it("never are more than there are, whatever happens", async () => {
    const slots = { chat: 3, completion: 2, embedding: 2 } as const;
    const models = [
      modelSpec("a", { slots: 2 }),
      modelSpec("b"),
      modelSpec("c", { task: "completion", slots: 1 }),
      modelSpec("d", { task: "embedding", slots: 1 }),
      modelSpec("e", { task: "embedding" }),
    ];
    const kinds = Object.keys(slots) as (keyof typeof slots)[];
    const inputs = { chat: CHAT, completion: { prompt: "a" }, embedding: { input: "a" } };
    const step = fc.oneof(
      fc.record({ do: fc.constant("start" as const), kind: fc.constantFrom(...kinds), model: fc.nat(4) }),
      fc.record({ do: fc.constantFrom("finish" as const, "fail" as const, "abort" as const), which: fc.nat(9) }),
      fc.record({ do: fc.constant("model" as const), model: fc.nat(4), ready: fc.boolean() }),
      fc.record({ do: fc.constant("state" as const), state: fc.constantFrom("paused" as const, "syncing" as const) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const holds: PromiseWithResolvers<ReturnType<typeof chatAnswer>>[] = [];
        const engine = new FakeEngine(() => {
          const hold = Promise.withResolvers<ReturnType<typeof chatAnswer>>();
          holds.push(hold);
          return hold.promise;
        });
        const { board, server } = serving({ slots, models, engine });
        const jobs: { stop: AbortController; ended: Promise<JobOutcome>; hold: (typeof holds)[number] }[] = [];
        for (const each of steps) {
          if (each.do === "start") {
            const stop = new AbortController();
            const free = server.slotsFree;
            const job = chatJob({ kind: each.kind, model: models[each.model]!.id, input: inputs[each.kind] });
            const started = server.start(job, calls({ signal: stop.signal }));
            if (typeof started === "string") {
              expect(server.slotsFree).toEqual(free);
            } else {
              expect(free[each.kind]).toBeGreaterThan(0);
              expect(server.slotsFree[each.kind]).toBeLessThan(free[each.kind]!);
              jobs.push({ stop, ended: started, hold: holds.at(-1)! });
            }
          } else if (each.do === "model") {
            board.setModel(models[each.model]!.id, { state: each.ready ? "ready" : "stored" });
          } else if (each.do === "state") {
            board.update({ state: each.state });
          } else if (jobs.length > 0) {
            const [job] = jobs.splice(each.which % jobs.length, 1);
            if (each.do === "abort") job!.stop.abort(abortedBy("CANCELLED"));
            else if (each.do === "fail") job!.hold.reject(new Error("broken"));
            else job!.hold.resolve(chatAnswer("a"));
            const { status } = await job!.ended;
            expect(status).toBe({ abort: "cancelled", fail: "failed", finish: "done" }[each.do]);
          }
          const { jobs: running } = board.current;
          expect(running).toHaveLength(jobs.length);
          expect(engine.working).toBe(jobs.length);
          for (const kind of kinds) {
            const used = running.filter((job) => job.kind === kind).length;
            expect(used).toBeLessThanOrEqual(slots[kind]);
            expect(server.slotsFree[kind]).toBeGreaterThanOrEqual(0);
            expect(server.slotsFree[kind]! + used).toBeLessThanOrEqual(slots[kind]);
          }
          for (const { id, slots: own } of models)
            expect(running.filter(({ model }) => model === id).length).toBeLessThanOrEqual(own ?? 9);
        }
        for (const { stop } of jobs) stop.abort(abortedBy("DRAINING"));
        await server.idle();
        expect(engine.working).toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});

it("what runs stands on the board, and what ended is told there without its answer", async () => {
  const engine = new FakeEngine(async ({ call }) => {
    await call.onChunk?.({ a: 1 });
    await call.onChunk?.({ a: 2 });
    return chatAnswer("secret words");
  });
  const { board, server } = serving({ engine });
  const told: unknown[] = [];
  board.onChange((event) => event.kind === "job" && told.push(structuredClone(event)));
  const outcome = await taken(server.start(chatJob({ jobId: "j", attempt: 2, stream: true }), calls()));
  const job = { jobId: "j", attempt: 2, kind: "chat", model: "tiny", startedAt: expect.any(String) };
  expect(told).toEqual([
    { kind: "job", job: { ...job, chunks: 0 }, end: null },
    { kind: "job", job: { ...job, chunks: 2 }, end: expect.objectContaining({ status: "done", usage: outcome.usage }) },
  ]);
  expect(JSON.stringify(told)).not.toContain("secret words");
  expect(board.current.jobs).toEqual([]);
});

describe("an abort frees the slot", () => {
  const onlySlot = (engine: FakeEngine) => serving({ slots: { chat: 1 }, engine });

  it.each<[JobErrorCode, JobOutcome["status"]]>([
    ["CANCELLED", "cancelled"],
    ["LEASE_LOST", "failed"],
    ["DRAINING", "failed"],
  ])("%s, while the engine works: %s", async (code, status) => {
    const { server, engine } = onlySlot(new FakeEngine(holding().script));
    const stop = new AbortController();
    const ended = taken(server.start(chatJob(), calls({ signal: stop.signal })));
    expect(server.slotsFree).toEqual({ chat: 0 });
    stop.abort(abortedBy(code));
    expect(await ended).toMatchObject({ status, error: { code } });
    expect([server.slotsFree.chat, engine.working]).toEqual([1, 0]);
  });

  it("before it began: the engine is not asked", async () => {
    const { server, engine } = onlySlot(new FakeEngine());
    const signal = AbortSignal.abort(abortedBy("CANCELLED"));
    expect(await taken(server.start(chatJob(), calls({ signal })))).toMatchObject({ status: "cancelled" });
    expect([server.slotsFree.chat, engine.asked.length]).toEqual([1, 0]);
  });

  it("only when the engine's work has ended", async () => {
    const ending = Promise.withResolvers<void>();
    const engine = new FakeEngine();
    engine.run = async (_kind, _model, _body, { signal }) => {
      await ending.promise;
      throw signal.reason;
    };
    const { server } = onlySlot(engine);
    const stop = new AbortController();
    const ended = taken(server.start(chatJob(), calls({ signal: stop.signal })));
    stop.abort(abortedBy("CANCELLED"));
    await new Promise(setImmediate);
    expect(server.slotsFree).toEqual({ chat: 0 });
    ending.resolve();
    expect(await ended).toMatchObject({ status: "cancelled" });
  });
});

describe("the log", () => {
  const PROMPT = "my deepest secret";
  const input = { messages: [{ role: "user", content: PROMPT }] };
  const answering = () =>
    new FakeEngine(({ model }) => {
      if (model.id === "tiny") return chatAnswer(`You said: ${PROMPT}`);
      throw new Error(`cannot parse ${PROMPT}`);
    });

  it("has no prompts, answers or messages of failures", async () => {
    const models = [modelSpec("tiny"), modelSpec("broken")];
    const { server, lines } = serving({ engine: answering(), models });
    await taken(server.start(chatJob({ input }), calls()));
    await taken(server.start(chatJob({ input, model: "broken" }), calls()));
    await taken(server.start(chatJob({ input: { messages: PROMPT, [PROMPT]: PROMPT } }), calls()));
    expect(lines.map(({ msg, code }) => [msg, code])).toEqual([
      ["Job done", undefined],
      ["Job failed", "INTERNAL"],
      ["Job failed", "INVALID_INPUT"],
    ]);
    expect(JSON.stringify(lines)).not.toContain(PROMPT);
  });

  it("has them where LOG_PAYLOADS says so, shortened", async () => {
    const { server, lines } = serving({ engine: answering(), logPayloads: true });
    await taken(server.start(chatJob({ input: { ...input, long: "a".repeat(100_000) } }), calls()));
    let deep: unknown = 1;
    for (let level = 0; level < 100_000; level += 1) deep = [deep];
    expect(await taken(server.start(chatJob({ input: deep }), calls()))).toMatchObject({ status: "failed" });
    expect(lines[0]).toMatchObject({ input: expect.stringContaining(PROMPT), output: expect.stringContaining(PROMPT) });
    expect(JSON.stringify(lines).length).toBeLessThan(10_000);
  });
});

it("settles when idle, and not before", async () => {
  const { script, release } = holding();
  const { server, engine } = serving({ engine: new FakeEngine(script) });
  await server.idle();
  const ended = taken(server.start(chatJob(), calls()));
  let idle = false;
  const waiting = server.idle().then(() => {
    idle = true;
  });
  await until("the engine is asked", () => engine.working);
  expect(idle).toBe(false);
  release();
  await Promise.all([ended, waiting]);
});
