import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Job, jobError } from "../../src/job.ts";
import { JOB_KINDS, type Task } from "../../src/model.ts";
import { JOB_LIMITS } from "../../src/serve/limits.ts";
import { type RunOptions, runJob } from "../../src/serve/run-job.ts";
import { chatAnswer, FakeEngine, holding } from "./fake-engine.ts";
import { PNG } from "./images.ts";
import { CHAT, calls, chatJob } from "./serving.ts";

function run(
  job: Job,
  {
    engine = new FakeEngine(),
    task = "chat",
    ...rest
  }: Partial<RunOptions> & { engine?: FakeEngine; task?: Task } = {},
) {
  const model = { id: "tiny", task, name: "tiny", context: null };
  return runJob(job, { ...calls(), limits: JOB_LIMITS, engine, model, ...rest });
}

describe("what is done", () => {
  it("gives the engine's answer, its usage, and when what happened", async () => {
    const { output, usage } = chatAnswer("Hello");
    expect(await run(chatJob())).toEqual({
      status: "done",
      output,
      usage,
      timings: { queue_ms: expect.any(Number), total_ms: expect.any(Number) },
    });
  });

  it("asks the engine with the body, without what is the job's to say, and with the bound of the answer", async () => {
    const engine = new FakeEngine();
    const input = { ...CHAT, model: "another", stream: true, stream_options: { a: 1 }, tools: [], custom: { a: [1] } };
    await run(chatJob({ input }), { engine });
    await run(chatJob({ kind: "completion", input: { prompt: "a", suffix: "b" } }), { engine, task: "completion" });
    await run(chatJob({ kind: "embedding", input: { input: [[1, 2], [3]] } }), { engine, task: "embedding" });
    expect(engine.asked.map(({ kind, body }) => [kind, body])).toEqual([
      ["chat", { ...CHAT, tools: [], custom: { a: [1] } }],
      ["completion", { prompt: "a", suffix: "b" }],
      ["embedding", { input: [[1, 2], [3]] }],
    ]);
    expect(engine.asked[0]!.call).toMatchObject({ onChunk: null, maxOutputBytes: JOB_LIMITS.outputBytes });
  });

  it("is streamed where it is wanted so; the engine gets the promise to wait for", async () => {
    const pressure = Promise.withResolvers<void>();
    const returned: unknown[] = [];
    const engine = new FakeEngine(async ({ call }) => {
      returned.push(call.onChunk?.("a"));
      returned.push(call.onChunk?.("b"));
      await returned[0];
      return chatAnswer("ab");
    });
    const sunk: unknown[] = [];
    const onChunk = (delta: unknown) => {
      sunk.push(delta);
      return delta === "a" ? pressure.promise : null;
    };
    const ended = run(chatJob({ stream: true }), { engine, onChunk });
    expect(returned).toEqual([pressure.promise, null]);
    expect(returned[0]).toBe(pressure.promise);
    pressure.resolve();
    expect(await ended).toMatchObject({ status: "done", timings: { first_token_ms: expect.any(Number) } });
    expect(sunk).toEqual(["a", "b"]);
  });
});

describe("what fails", () => {
  it.each<[string, unknown, object]>([
    [
      "as the engine says",
      jobError("OUT_OF_MEMORY", "No room.", "Wait."),
      { code: "OUT_OF_MEMORY", message: "No room.", retryable: true },
    ],
    ["as INTERNAL", new TypeError("x is undefined"), { code: "INTERNAL", retryable: true }],
    ["whatever was thrown", "nonsense", { code: "INTERNAL" }],
    ["with nothing thrown", undefined, { code: "INTERNAL" }],
  ])("%s", async (_what, thrown, error) => {
    const engine = new FakeEngine(() => Promise.reject(thrown));
    const outcome = await run(chatJob(), { engine });
    expect(outcome).toMatchObject({ status: "failed", error, timings: { total_ms: expect.any(Number) } });
    expect(outcome).not.toHaveProperty("output");
  });

  it("TIMEOUT when its time is over, and the engine's work is ended", async () => {
    const engine = new FakeEngine(holding().script);
    expect(await run(chatJob({ remainingMs: 1 }), { engine })).toMatchObject({
      status: "failed",
      error: { code: "TIMEOUT", retryable: false },
    });
    expect(engine.working).toBe(0);
    // Longer than a timer can be set for.
    expect(await run(chatJob({ remainingMs: Number.MAX_SAFE_INTEGER }))).toMatchObject({ status: "done" });
  });

  it("PAYLOAD_TOO_LARGE over the bound of the input, before the engine is asked", async () => {
    const engine = new FakeEngine();
    const limits = { ...JOB_LIMITS, inputBytes: 2 ** 20 };
    const input = { messages: [{ role: "user", content: "a".repeat(2 ** 20) }] };
    expect(await run(chatJob({ input }), { engine, limits })).toMatchObject({
      error: { code: "PAYLOAD_TOO_LARGE", message: "input: is larger than 1 MiB" },
    });
    expect(await run(chatJob({ input: { messages: Array(300_000).fill(0) } }), { engine, limits })).toMatchObject({
      error: { code: "PAYLOAD_TOO_LARGE" },
    });
    expect(engine.asked).toEqual([]);
  });

  it("UNSUPPORTED for images at a model that sees none", async () => {
    const content = [{ type: "image_url", image_url: { url: `data:image/png;base64,${PNG}` } }];
    const job = chatJob({ input: { messages: [{ role: "user", content }] } });
    expect(await run(job)).toMatchObject({ error: { code: "UNSUPPORTED" } });
    expect(await run(job, { task: "vision" })).toMatchObject({ status: "done" });
  });
});

describe("any junk", () => {
  it("is taken, or INVALID_INPUT with the name of a field; nothing is thrown", async () => {
    const key = fc.oneof(
      fc.string(),
      fc.constantFrom("messages", "role", "content", "type", "text", "image_url", "url", "prompt", "input", "image"),
      fc.constantFrom("pages", "format", "schema", "model", "stream", "tools", "__proto__", "constructor", "toString"),
    );
    const { junk } = fc.letrec((tie) => ({
      junk: fc.oneof(
        { depthSize: "small" },
        fc.jsonValue(),
        fc.constantFrom("user", "text", "image_url", "json", `data:image/png;base64,${PNG}`, PNG, ""),
        fc.array(tie("junk"), { maxLength: 4 }),
        fc.array(fc.tuple(key, tie("junk")), { maxLength: 5 }).map((pairs) => JSON.parse(object(pairs))),
      ),
    }));
    // Mostly right, so that every field is reached.
    const nearly = <T>(value: fc.Arbitrary<T>) =>
      fc.oneof({ weight: 9, arbitrary: value }, { weight: 1, arbitrary: junk });
    const record = <T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }) => nearly(fc.record(fields));
    const url = nearly(fc.constant(`data:image/png;base64,${PNG}`));
    const part = fc.oneof(
      record({ type: nearly(fc.constant("text")), text: nearly(fc.string()) }),
      record({ type: nearly(fc.constant("image_url")), image_url: record({ url }) }),
    );
    const content = fc.oneof(fc.string(), nearly(fc.array(part, { minLength: 1 })));
    const inputs = {
      chat: record({ messages: nearly(fc.array(record({ role: nearly(fc.constant("user")), content }))) }),
      completion: record({ prompt: nearly(fc.oneof(fc.string(), fc.array(nearly(fc.nat())))) }),
      embedding: record({ input: nearly(fc.array(nearly(fc.string()))) }),
      ocr: record({ pages: nearly(fc.array(nearly(fc.constant(PNG)))), format: nearly(fc.constant("text")) }),
    };
    const anything = fc
      .constantFrom(...JOB_KINDS)
      .chain((kind) => fc.tuple(fc.constant(kind), fc.oneof(junk, inputs[kind] as fc.Arbitrary<unknown>)));
    const seen = { done: 0, failed: 0 };
    await fc.assert(
      fc.asyncProperty(anything, async ([kind, input]) => {
        const engine = new FakeEngine(({ body }) => {
          expect(Object.getPrototypeOf(body)).toBe(Object.prototype);
          return chatAnswer("{}");
        });
        const { status, error } = await run(chatJob({ kind, input }), { engine, task: "vision" });
        seen[status as keyof typeof seen] += 1;
        if (status === "done") expect(engine.asked.length).toBeGreaterThan(0);
        else expect(error).toMatchObject({ code: "INVALID_INPUT", message: expect.stringMatching(/^[\w.]+: .+/) });
      }),
      { numRuns: 2000 },
    );
    expect(Math.min(seen.done, seen.failed)).toBeGreaterThan(200);
  });
});

/** As text, because a literal cannot have an own __proto__ from pairs. */
function object(pairs: [string, unknown][]): string {
  return `{${pairs.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`;
}
