import { describe, expect, test } from "vitest";
import type { ChatBody } from "../../../src/serve/engines/engine.ts";
import { ollamaEngine } from "../../../src/serve/engines/ollama.ts";
import { type OllamaEngine, startOllamaEngine } from "../../fakes/ollama-engine.ts";
import { CHAT, describeEngine, failure, keptCall, MODEL, type Target, wholly } from "./contract.ts";

const never = () => new AbortController().signal;

function over(server: OllamaEngine): Target {
  return {
    engine: ollamaEngine(server.url),
    server,
    paths: { chat: "/api/chat", completion: "/api/generate", embedding: "/api/embed" },
    images: ({ messages }) =>
      messages
        .flatMap(({ images = [] }: { images?: string[] }) => images)
        .map((image: string) => Buffer.from(image, "base64")),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

describeEngine("Ollama", async () => over(await startOllamaEngine()));

/** What the server got for this body. */
async function sent(body: object) {
  await using target = over(await startOllamaEngine());
  await target.engine.run("chat", MODEL, { ...CHAT, ...body }, wholly());
  return target.server.requests[0]?.body;
}

describe("OpenAI's requests in Ollama's API", () => {
  test("what never changes: context, thinking, how long the model stays, no silent cuts", async () => {
    expect(await sent({})).toEqual({
      model: "org/model",
      messages: CHAT.messages,
      stream: true,
      keep_alive: -1,
      think: false,
      truncate: false,
      shift: false,
      options: { num_ctx: 4096 },
    });
  });

  test("sampling", async () => {
    const body = {
      temperature: 0.3,
      top_p: 0.9,
      top_k: 20,
      min_p: 0.05,
      seed: 7,
      stop: "END",
      max_tokens: 5,
      frequency_penalty: 0.1,
      presence_penalty: 0.2,
      repetition_penalty: 1.1,
      keep_alive: 0,
      num_ctx: 1,
    };
    expect((await sent(body)).options).toEqual({
      num_ctx: 4096,
      temperature: 0.3,
      top_p: 0.9,
      top_k: 20,
      min_p: 0.05,
      seed: 7,
      stop: ["END"],
      num_predict: 5,
      frequency_penalty: 0.1,
      presence_penalty: 0.2,
      repeat_penalty: 1.1,
    });
    expect((await sent({ max_tokens: 5, max_completion_tokens: 9, stop: ["a", "b"], seed: null })).options).toEqual({
      num_ctx: 4096,
      num_predict: 9,
      stop: ["a", "b"],
    });
  });

  test.each([
    [{ think: true }, true],
    [{ think: "high" }, "high"],
    [{ reasoning_effort: "medium" }, "medium"],
    [{ reasoning_effort: "minimal" }, "low"],
    [{ reasoning_effort: "none" }, false],
    [{ think: false, reasoning_effort: "high" }, false],
  ])("%j thinks %j", async (body, think) => {
    expect((await sent(body)).think).toBe(think);
  });

  test("the form of the answer", async () => {
    const schema = { type: "object", properties: { a: { type: "string" } } };
    expect(await sent({ response_format: { type: "text" } })).not.toHaveProperty("format");
    expect((await sent({ response_format: { type: "json_object" } })).format).toBe("json");
    expect((await sent({ response_format: { type: "json_schema", json_schema: { schema } } })).format).toEqual(schema);
  });

  test("a conversation with tools", async () => {
    const { messages, tools } = await sent({
      messages: [
        {
          role: "developer",
          content: [
            { type: "text", text: "Be" },
            { type: "text", text: "brief." },
          ],
        },
        { role: "user", content: "Weather?" },
        {
          role: "assistant",
          content: null,
          reasoning_content: "I ask.",
          tool_calls: [{ id: "c1", type: "function", function: { name: "weather", arguments: '{"city":"Bern"}' } }],
        },
        { role: "tool", tool_call_id: "c1", content: "sunny" },
      ],
      tools: [
        { type: "function", function: { name: "weather" } },
        { type: "function", function: { name: "time" } },
      ],
      tool_choice: { type: "function", function: { name: "weather" } },
    });
    expect(messages).toEqual([
      { role: "system", content: "Be\nbrief." },
      { role: "user", content: "Weather?" },
      {
        role: "assistant",
        content: "",
        thinking: "I ask.",
        tool_calls: [{ id: "c1", function: { name: "weather", arguments: { city: "Bern" } } }],
      },
      { role: "tool", content: "sunny", tool_name: "weather", tool_call_id: "c1" },
    ]);
    expect(tools).toEqual([{ type: "function", function: { name: "weather" } }]);
    const none = { tools: [{ type: "function", function: { name: "weather" } }], tool_choice: "none" };
    expect(await sent(none)).not.toHaveProperty("tools");
  });

  test.each<[string, object, string]>([
    ["no messages", { messages: [] }, "INVALID_INPUT"],
    ["an image that is an address", image("http://host/secret.png"), "INVALID_INPUT"],
    ["an image that is a file", image("/etc/passwd"), "INVALID_INPUT"],
    ["sound", { messages: [{ role: "user", content: [{ type: "input_audio" }] }] }, "UNSUPPORTED"],
    ["several answers", { n: 2 }, "UNSUPPORTED"],
    ["an unknown form", { response_format: { type: "yaml" } }, "INVALID_INPUT"],
    ["a schema without a schema", { response_format: { type: "json_schema" } }, "INVALID_INPUT"],
    [
      "arguments that are no JSON",
      { messages: [{ role: "assistant", tool_calls: [{ function: { name: "f", arguments: "{swordfish" } }] }] },
      "INVALID_INPUT",
    ],
    ["a tool that is not there", { tools: [{}], tool_choice: { function: { name: "f" } } }, "INVALID_INPUT"],
  ])("refuses %s", async (_what, body, code) => {
    await using target = over(await startOllamaEngine());
    const error = await failure(target.engine.run("chat", MODEL, { ...CHAT, ...body }, wholly()));
    expect(error).toMatchObject({ code, hint: expect.stringMatching(/\w/) });
    expect(JSON.stringify([error, String(error.cause)])).not.toContain("swordfish");
    expect(target.server.requests).toEqual([]);
  });

  test("images are for models that see; a server that does not tell is trusted", async () => {
    await using server = await startOllamaEngine();
    const { engine } = over(server);
    const see = () => engine.run("chat", MODEL, image("data:image/png;base64,AAAA") as ChatBody, wholly());
    server.capabilities = ["completion"];
    expect(await failure(see())).toMatchObject({ code: "UNSUPPORTED" });
    expect(server.requests.map(({ path, body }) => [path, body.model])).toEqual([["/api/show", "org/model"]]);
    server.capabilities = null;
    await see();
  });

  test("several prompts are completed one after the other", async () => {
    await using target = over(await startOllamaEngine());
    const { call, chunks } = keptCall();
    const body = { prompt: ["one", "two"], suffix: "end" };
    const { output, usage } = await target.engine.run("completion", MODEL, body, call);
    expect(output.choices).toMatchObject([
      { index: 0, text: "Hello, wörld 🌍", finish_reason: "stop" },
      { index: 1, text: "Hello, wörld 🌍", finish_reason: "stop" },
    ]);
    expect(usage).toEqual({ prompt_tokens: 14, completion_tokens: 6, total_tokens: 20 });
    expect(new Set(chunks.map(({ choices }) => choices[0].index))).toEqual(new Set([0, 1]));
    expect(target.server.requests.map(({ body }) => [body.prompt, body.suffix])).toEqual([
      ["one", "end"],
      ["two", "end"],
    ]);
  });

  test("tokens in place of texts are UNSUPPORTED", async () => {
    await using target = over(await startOllamaEngine());
    const { engine } = target;
    for (const work of [
      engine.run("completion", MODEL, { prompt: [1, 2] }, wholly()),
      engine.run("embedding", MODEL, { input: [[1], [2]] }, wholly()),
    ]) {
      expect(await failure(work)).toMatchObject({ code: "UNSUPPORTED" });
    }
  });

  test("a model is loaded with the options that jobs use, so that none loads it anew", async () => {
    await using target = over(await startOllamaEngine());
    const load = { model: "org/model", keep_alive: -1, options: { num_ctx: 4096 } };
    await target.engine.warmUp(MODEL, never());
    await target.engine.warmUp({ ...MODEL, task: "completion" }, never());
    await target.engine.warmUp({ ...MODEL, task: "embedding", context: null }, never());
    expect(target.server.requests.map(({ body }) => body)).toEqual([
      { ...load, messages: [], stream: false },
      { ...load, prompt: "", stream: false },
      { ...load, input: [], options: {} },
    ]);
  });
});

function image(url: string): object {
  return { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url } }] }] };
}
