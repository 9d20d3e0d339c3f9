import { describe, expect, test, vi } from "vitest";
import { MusterError } from "../../../src/errors.ts";
import { jobError } from "../../../src/job.ts";
import type { ChatBody, Engine, EngineCall, EngineModel } from "../../../src/serve/engines/engine.ts";
import type { EngineServer } from "../../fakes/engine-server.ts";
import { until } from "../../until.ts";

/** What every engine does, whatever API it speaks. */

export interface Target extends AsyncDisposable {
  engine: Engine;
  server: EngineServer;
  /** Where jobs arrive. */
  paths: { chat: string; completion: string; embedding: string };
  /** Bytes of the images in a chat as the server got it. */
  // biome-ignore lint/suspicious/noExplicitAny: the body as the server got it
  images(body: any): Buffer[];
}

export const MODEL: EngineModel = { id: "catalog-id", task: "chat", name: "org/model", context: 4096 };
const PROMPT = "tell nobody: swordfish";
export const CHAT: ChatBody = { messages: [{ role: "user", content: PROMPT }] };
const MANY = 1_000_000;

/** A call whose chunks are kept. */
export function keptCall(change: Partial<EngineCall> = {}) {
  // biome-ignore lint/suspicious/noExplicitAny: chunks as they are passed on
  const chunks: any[] = [];
  const call: EngineCall = {
    signal: new AbortController().signal,
    onChunk: (chunk) => {
      chunks.push(chunk);
      return null;
    },
    maxOutputBytes: MANY,
    ...change,
  };
  return { call, chunks };
}

export const wholly = (signal = new AbortController().signal): EngineCall => ({
  signal,
  onChunk: null,
  maxOutputBytes: MANY,
});

/** The error of something that has to fail. */
export async function failure(work: Promise<unknown>): Promise<MusterError> {
  const error = await work.then(
    () => null,
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(MusterError);
  return error as MusterError;
}

export function describeEngine(name: string, open: () => Promise<Target>): void {
  describe(`${name} keeps the contract:`, () => {
    // The first test of its file, because the HTTP client keeps the timer that it made first.
    test("no time-out ends a job, however long a load keeps its answer waiting", async () => {
      await using target = await open();
      vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval"] });
      try {
        const headers = Promise.withResolvers<void>();
        const piece = Promise.withResolvers<void>();
        const first = Promise.withResolvers<void>();
        target.server.script.headers = headers.promise;
        target.server.script.hold = { piece: 1, until: piece.promise };
        const onChunk = () => {
          first.resolve();
          return null;
        };
        const running = target.engine.run("chat", MODEL, CHAT, { ...wholly(), onChunk });
        // One that fails too early is told below.
        running.catch(() => undefined);
        const loading = target.engine.warmUp(MODEL, new AbortController().signal);
        loading.catch(() => undefined);
        await target.server.asked(target.paths.chat, 1);
        await vi.advanceTimersByTimeAsync(3_600_000);
        headers.resolve();
        await Promise.race([first.promise, running]);
        await vi.advanceTimersByTimeAsync(3_600_000);
        piece.resolve();
        expect((await running).output).toMatchObject({ choices: [{ finish_reason: "stop" }] });
        await loading;
      } finally {
        vi.useRealTimers();
      }
    });

    test("a chat, whole", async () => {
      await using target = await open();
      const { output, usage } = await target.engine.run("chat", MODEL, CHAT, wholly());
      expect(output).toMatchObject({
        object: "chat.completion",
        model: "catalog-id",
        choices: [{ index: 0, message: { role: "assistant", content: "Hello, wörld 🌍" }, finish_reason: "stop" }],
        usage: { prompt_tokens: 7, completion_tokens: 3, total_tokens: 10 },
      });
      expect(output.id).toMatch(/^chatcmpl-/);
      expect(output.created).toBeTypeOf("number");
      expect(usage).toEqual({ prompt_tokens: 7, completion_tokens: 3, total_tokens: 10 });
      expect(target.server.requests[0]?.body).toMatchObject({ model: "org/model", stream: true });
    });

    test.each([1, 3, 7])(
      "a chat, streamed in packets of %i bytes: role first, then pieces, then why it ended",
      async (packet) => {
        await using target = await open();
        target.server.script.packet = packet;
        const { call, chunks } = keptCall();
        const { output } = await target.engine.run("chat", MODEL, CHAT, call);
        expect(
          chunks.every(({ object, model, id }) => object === "chat.completion.chunk" && model === "catalog-id" && id),
        ).toBe(true);
        expect(chunks.map(({ choices }) => choices[0].delta)).toEqual([
          { role: "assistant", content: "" },
          { content: "Hello" },
          { content: ", wörld 🌍" },
          {},
        ]);
        expect(chunks.map(({ choices }) => choices[0].finish_reason)).toEqual([null, null, null, "stop"]);
        expect(chunks.some((chunk) => "usage" in chunk)).toBe(false);
        expect(output).toMatchObject({ choices: [{ message: { content: "Hello, wörld 🌍" } }] });
      },
    );

    test("usage comes in a last chunk where it is asked for", async () => {
      await using target = await open();
      const { call, chunks } = keptCall();
      await target.engine.run("chat", MODEL, { ...CHAT, stream_options: { include_usage: true } }, call);
      expect(chunks.at(-1)).toMatchObject({
        choices: [],
        usage: { prompt_tokens: 7, completion_tokens: 3, total_tokens: 10 },
      });
      expect(chunks.slice(0, -1).every(({ choices, usage }) => choices.length === 1 && usage === null)).toBe(true);
    });

    test("an answer that was cut by its length says so", async () => {
      await using target = await open();
      target.server.script.finish = "length";
      const { output } = await target.engine.run("chat", MODEL, { ...CHAT, max_tokens: 3 }, wholly());
      expect(output).toMatchObject({ choices: [{ finish_reason: "length" }] });
    });

    test("tool calls, with arguments as JSON text", async () => {
      await using target = await open();
      target.server.script.pieces = [
        { call: { name: "weather", arguments: { city: "Zürich" } } },
        { call: { name: "time", arguments: {} } },
      ];
      const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object" } } }];
      const { call, chunks } = keptCall();
      const { output } = await target.engine.run("chat", MODEL, { ...CHAT, tools }, call);
      // biome-ignore lint/suspicious/noExplicitAny: of the OpenAI form
      const [choice] = output.choices as any[];
      expect(choice.finish_reason).toBe("tool_calls");
      expect(choice.message.content).toBeNull();
      expect(choice.message.tool_calls).toEqual([
        { id: "call_0", type: "function", function: { name: "weather", arguments: '{"city":"Zürich"}' } },
        { id: "call_1", type: "function", function: { name: "time", arguments: "{}" } },
      ]);
      const indices = chunks.flatMap(({ choices }) => choices[0].delta.tool_calls ?? []).map(({ index }) => index);
      expect(new Set(indices)).toEqual(new Set([0, 1]));
      expect(target.server.requests[0]?.body.tools).toEqual(tools);
    });

    test("thinking comes as reasoning_content", async () => {
      await using target = await open();
      target.server.script.pieces = [{ thinking: "hm" }, { thinking: "m" }, { text: "yes" }];
      const { call, chunks } = keptCall();
      const { output } = await target.engine.run("chat", MODEL, CHAT, call);
      expect(output).toMatchObject({ choices: [{ message: { content: "yes", reasoning_content: "hmm" } }] });
      expect(chunks[1].choices[0].delta).toEqual({ reasoning_content: "hm" });
    });

    test("probabilities of tokens, where they are asked for", async () => {
      await using target = await open();
      const { output } = await target.engine.run("chat", MODEL, { ...CHAT, logprobs: true, top_logprobs: 2 }, wholly());
      const content = ["Hello", ", wörld 🌍"].map((token) => expect.objectContaining({ token, logprob: -0.5 }));
      expect(output).toMatchObject({ choices: [{ logprobs: { content } }] });
      expect(target.server.requests[0]?.body).toMatchObject({ logprobs: true, top_logprobs: 2 });
    });

    test("images arrive as the bytes they are, even where their base64 is the name of a file", async () => {
      await using target = await open();
      const bytes = [Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 255]), Buffer.from("/etc/hostname", "base64")];
      const content = [
        { type: "text", text: "what is it" },
        ...bytes.map((each) => ({
          type: "image_url",
          image_url: { url: `data:image/png;base64,${each.toString("base64")}` },
        })),
      ];
      await target.engine.run("chat", MODEL, { messages: [{ role: "user", content }] }, wholly());
      expect(target.images((await target.server.asked(target.paths.chat)).body)).toEqual(bytes);
    });

    test("a completion, whole and in pieces", async () => {
      await using target = await open();
      const { call, chunks } = keptCall();
      const { output, usage } = await target.engine.run("completion", MODEL, { prompt: PROMPT }, call);
      expect(output).toMatchObject({
        object: "text_completion",
        model: "catalog-id",
        choices: [{ index: 0, text: "Hello, wörld 🌍", finish_reason: "stop" }],
      });
      expect(usage).toMatchObject({ total_tokens: 10 });
      expect(chunks.map(({ choices }) => choices[0].text).join("")).toBe("Hello, wörld 🌍");
      expect(chunks.every(({ model }) => model === "catalog-id")).toBe(true);
    });

    test("embeddings in their order, as numbers and as base64", async () => {
      await using target = await open();
      const input = ["a", "bbb"];
      const embed = (body: object) =>
        target.engine.run("embedding", { ...MODEL, task: "embedding" }, { input, ...body }, wholly());
      const { output, usage } = await embed({ dimensions: 3 });
      expect(output).toMatchObject({
        object: "list",
        model: "catalog-id",
        data: [
          { object: "embedding", index: 0, embedding: [1, 0.5, -0.25] },
          { object: "embedding", index: 1, embedding: [3, 0.5, -0.25] },
        ],
      });
      expect(usage).toEqual({ prompt_tokens: 7, total_tokens: 7 });
      expect(target.server.requests[0]?.body).toMatchObject({ input, dimensions: 3, model: "org/model" });
      const coded = await embed({ encoding_format: "base64" });
      const [, second] = coded.output.data as { embedding: string }[];
      expect([...new Float32Array(new Uint8Array(Buffer.from(second!.embedding, "base64")).buffer)]).toEqual([
        3, 0.5, -0.25,
      ]);
      expect((await embed({ input: "cc" })).output.data).toHaveLength(1);
    });

    describe("the signal ends the engine's work", () => {
      const reason = jobError("CANCELLED", "The coordinator cancelled it.", "Send it again.");

      test("before it begins", async () => {
        await using target = await open();
        expect(await failure(target.engine.run("chat", MODEL, CHAT, wholly(AbortSignal.abort(reason))))).toBe(reason);
        expect(target.server.requests).toEqual([]);
      });

      test.each(["chat", "completion", "embedding"] as const)("before the headers of a %s", async (kind) => {
        await using target = await open();
        target.server.script.headers = new Promise(() => undefined);
        const stop = new AbortController();
        const body = { ...CHAT, prompt: PROMPT, input: PROMPT };
        const running = failure(target.engine.run(kind, MODEL, body, wholly(stop.signal)));
        const { gone } = await target.server.asked(target.paths[kind]);
        stop.abort(reason);
        expect(await running).toBe(reason);
        await gone;
      });

      test("in mid-stream", async () => {
        await using target = await open();
        target.server.script.hold = { piece: 1, until: new Promise(() => undefined) };
        const stop = new AbortController();
        const first = Promise.withResolvers<void>();
        const onChunk = () => {
          first.resolve();
          return null;
        };
        const running = failure(target.engine.run("chat", MODEL, CHAT, { ...wholly(stop.signal), onChunk }));
        const { gone } = await target.server.asked(target.paths.chat);
        await first.promise;
        stop.abort(reason);
        expect(await running).toBe(reason);
        await gone;
      });

      test("while the sink keeps it waiting", async () => {
        await using target = await open();
        target.server.script.endless = true;
        const stop = new AbortController();
        const held = Promise.withResolvers<void>();
        const onChunk = () => {
          held.resolve();
          return new Promise<void>(() => undefined);
        };
        const running = failure(target.engine.run("chat", MODEL, CHAT, { ...wholly(stop.signal), onChunk }));
        const { gone } = await target.server.asked(target.paths.chat);
        await held.promise;
        stop.abort(reason);
        expect(await running).toBe(reason);
        await gone;
      });

      test("while a model is loaded", async () => {
        await using target = await open();
        target.server.script.headers = new Promise(() => undefined);
        const stop = new AbortController();
        const loading = failure(target.engine.warmUp(MODEL, stop.signal));
        const { gone } = await target.server.asked(target.paths.chat);
        stop.abort(reason);
        expect(await loading).toBe(reason);
        await gone;
      });
    });

    describe("what an engine says of a failure", () => {
      test.each([
        [404, 'model "org/model" not found, try pulling it first', "MODEL_NOT_READY", true],
        [400, "this is not understood", "INVALID_INPUT", false],
        [400, '"org/model" does not support chat', "UNSUPPORTED", false],
        [503, "server busy, please try again", "BUSY", true],
        [429, "too many", "BUSY", true],
        [500, "CUDA error: out of memory", "OUT_OF_MEMORY", true],
        [500, "model requires more system memory (5.6 GiB) than is available (3.1 GiB)", "OUT_OF_MEMORY", true],
        [500, "something broke", "INTERNAL", false],
        [502, "bad gateway", "ENGINE_DOWN", true],
        [401, "no", "ENGINE_DOWN", true],
        [413, "too large", "PAYLOAD_TOO_LARGE", false],
      ])("%i %s: %s", async (status, message, code) => {
        await using target = await open();
        target.server.script.refuse = { status, message };
        const error = await failure(target.engine.run("chat", MODEL, CHAT, wholly()));
        expect(error).toMatchObject({ code, hint: expect.stringMatching(/\w/) });
        expect(error.message).toContain(target.engine.url);
      });

      test("is passed on up to where it quotes the prompt", async () => {
        await using target = await open();
        target.server.script.refuse = { status: 400, message: `failed to parse messages: ${PROMPT}` };
        const error = await failure(target.engine.run("chat", MODEL, CHAT, wholly()));
        expect(error.message).toMatch(/: failed to parse messages$/);
        expect(JSON.stringify(error)).not.toContain("swordfish");
      });

      test.each([
        ["CUDA error: out of memory", "OUT_OF_MEMORY"],
        ["an error was encountered while running the model", "INTERNAL"],
      ])("in mid-stream: %s", async (message, code) => {
        await using target = await open();
        target.server.script.fault = { piece: 1, kind: "error", message };
        const { call, chunks } = keptCall();
        expect(await failure(target.engine.run("chat", MODEL, CHAT, call))).toMatchObject({ code });
        expect(chunks.map(({ choices }) => choices[0].delta.content)).toEqual(["", "Hello"]);
      });
    });

    test("an answer of another form is told as such, and its words are printed nowhere", async () => {
      await using target = await open();
      target.server.script.fault = { piece: 1, kind: "garbage", message: "data: {swordfish\n\n" };
      const printed = ["log", "warn", "error"].map((name) => vi.spyOn(console, name as "log"));
      const error = await failure(target.engine.run("chat", MODEL, CHAT, wholly()));
      expect(error.code).toBe("INTERNAL");
      expect(JSON.stringify([error, String(error.cause)])).not.toContain("swordfish");
      for (const print of printed) expect(print).not.toHaveBeenCalled();
      vi.restoreAllMocks();
    });

    describe("ENGINE_DOWN", () => {
      test.each([0, 1])("where the connection breaks before piece %i", async (piece) => {
        await using target = await open();
        target.server.script.fault = { piece, kind: "reset" };
        expect(await failure(target.engine.run("chat", MODEL, CHAT, wholly()))).toMatchObject({ code: "ENGINE_DOWN" });
      });

      test.each([0, 1])("where the answer ends before piece %i", async (piece) => {
        await using target = await open();
        target.server.script.fault = { piece, kind: "end" };
        expect(await failure(target.engine.run("chat", MODEL, CHAT, wholly()))).toMatchObject({ code: "ENGINE_DOWN" });
      });

      test("where nothing listens, and it is told how to look", async () => {
        const target = await open();
        await target[Symbol.asyncDispose]();
        const error = await failure(target.engine.run("chat", MODEL, CHAT, wholly()));
        expect(error).toMatchObject({ code: "ENGINE_DOWN", message: expect.stringContaining("nothing listens there") });
        expect(error.hint).toMatch(/_URL; `muster doctor` tries it/);
        expect(await failure(target.engine.warmUp(MODEL, new AbortController().signal))).toMatchObject({
          code: "ENGINE_DOWN",
        });
      });
    });

    test("an engine is read no faster than its chunks are taken", async () => {
      await using target = await open();
      const { server, engine } = target;
      server.script.pieces = [{ text: "x".repeat(100_000) }];
      server.script.endless = true;
      let taken = 0;
      const held = Promise.withResolvers<void>();
      const onChunk = () => {
        taken += 1;
        return taken < 3 ? null : held.promise;
      };
      const limit = 64 * 1024 * 1024;
      const running = failure(
        engine.run("chat", MODEL, CHAT, { signal: new AbortController().signal, onChunk, maxOutputBytes: limit }),
      );
      await until("the engine cannot send more", () => taken === 3 && server.isBlocked);
      // As many turns as would have taken far more.
      for (let turn = 0; turn < 50; turn += 1) await engine.probe(new AbortController().signal);
      expect(taken).toBe(3);
      expect(server.sentBytes).toBeLessThan(limit / 2);
      const { gone } = await server.asked(target.paths.chat);
      held.resolve();
      expect(await running).toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
      await gone;
    });

    test("an answer over its bound is PAYLOAD_TOO_LARGE, and the engine stops", async () => {
      await using target = await open();
      target.server.script.endless = true;
      const { call, chunks } = keptCall({ maxOutputBytes: 100 });
      const running = failure(target.engine.run("chat", MODEL, CHAT, call));
      const { gone } = await target.server.asked(target.paths.chat);
      expect(await running).toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
      await gone;
      const passed = chunks.map(({ choices }) => choices[0].delta.content ?? "").join("");
      expect(Buffer.byteLength(passed)).toBeLessThanOrEqual(100);
    });

    test("a single piece over the bound is not even kept", async () => {
      await using target = await open();
      target.server.script.pieces = [{ text: "x".repeat(4 * 1024 * 1024) }];
      const error = await failure(target.engine.run("chat", MODEL, CHAT, { ...wholly(), maxOutputBytes: 1000 }));
      expect(error.code).toBe("PAYLOAD_TOO_LARGE");
    });

    test("embeddings over the bound are PAYLOAD_TOO_LARGE", async () => {
      await using target = await open();
      const input = Array.from({ length: 1000 }, () => "text");
      const call = { ...wholly(), maxOutputBytes: 1000 };
      expect(await failure(target.engine.run("embedding", MODEL, { input }, call))).toMatchObject({
        code: "PAYLOAD_TOO_LARGE",
      });
    });

    test("a sink that fails ends the job and the engine's work", async () => {
      await using target = await open();
      target.server.script.endless = true;
      const onChunk = () => Promise.reject(new Error("the socket is gone"));
      const running = target.engine.run("chat", MODEL, CHAT, { ...wholly(), onChunk });
      running.catch(() => undefined);
      const { gone } = await target.server.asked(target.paths.chat);
      await expect(running).rejects.toThrow("the socket is gone");
      await gone;
    });

    test("jobs side by side keep out of each other's way", async () => {
      await using target = await open();
      const jobs = Array.from({ length: 20 }, () => target.engine.run("chat", MODEL, CHAT, wholly()));
      for (const { output } of await Promise.all(jobs)) {
        expect(output).toMatchObject({ choices: [{ message: { content: "Hello, wörld 🌍" } }] });
      }
    });

    test.each(["chat", "vision", "ocr", "completion", "embedding"] as const)(
      "loads a model of the task %s",
      async (task) => {
        await using target = await open();
        await target.engine.warmUp({ ...MODEL, task }, new AbortController().signal);
        const kind = task === "completion" || task === "embedding" ? task : "chat";
        expect(target.server.requests.map(({ path }) => path)).toEqual([target.paths[kind]]);
        expect(target.server.requests[0]?.body.model).toBe("org/model");
      },
    );

    test("nothing is asked of a model that no job can ask anything", async () => {
      await using target = await open();
      await target.engine.warmUp({ ...MODEL, task: "rerank" }, new AbortController().signal);
      expect(target.server.requests).toEqual([]);
    });

    test("an engine that is loading is waited for", async () => {
      await using target = await open();
      target.server.script.refuse = { status: 503, message: "Loading model" };
      const loading = target.engine.warmUp(MODEL, new AbortController().signal);
      await target.server.asked(target.paths.chat);
      target.server.script.refuse = null;
      await loading;
      expect(target.server.requests.length).toBeGreaterThan(1);
    });

    test("a model that cannot be loaded says why", async () => {
      await using target = await open();
      target.server.script.refuse = { status: 500, message: "cudaMalloc failed: out of memory" };
      expect(await failure(target.engine.warmUp(MODEL, new AbortController().signal))).toMatchObject({
        code: "OUT_OF_MEMORY",
      });
    });

    test("a look tells whether it is there; never throws", async () => {
      const target = await open();
      const look = (signal = new AbortController().signal) => target.engine.probe(signal);
      expect(await look()).toMatchObject({ reachable: true, version: expect.stringMatching(/^\d/) });
      target.server.silent = true;
      const stop = new AbortController();
      const looking = look(stop.signal);
      stop.abort();
      expect(await looking).toEqual({ reachable: false, version: null, models: null });
      await target[Symbol.asyncDispose]();
      expect(await look()).toEqual({ reachable: false, version: null, models: null });
    });
  });
}
