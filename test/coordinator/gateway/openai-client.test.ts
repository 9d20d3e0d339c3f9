import OpenAI from "openai";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { PNG } from "../../serve/images.ts";
import { until } from "../../until.ts";
import { type Fleet, startFleet } from "../fleet.ts";

const KEY = "client-secret-0123456789";
const MESSAGES: OpenAI.ChatCompletionMessageParam[] = [{ role: "user", content: "Hi" }];

let fleet: Fleet;
let client: OpenAI;
beforeAll(async () => {
  fleet = await startFleet({ clientToken: KEY });
  client = new OpenAI({ baseURL: `${fleet.coordinator.url}/v1`, apiKey: KEY, maxRetries: 0 });
});
afterAll(() => fleet?.[Symbol.asyncDispose]());
beforeEach(() => {
  fleet.engine.requests.length = 0;
  Object.assign(fleet.engine.script, {
    pieces: [{ text: "Hello" }, { text: ", wörld 🌍" }],
    ...{ endless: false, refuse: null, fault: null, hold: null, packet: 0 },
  });
});

test("a chat", async () => {
  const { data, response } = await client.chat.completions
    .create({ model: "tiny", messages: MESSAGES, temperature: 0.5 })
    .withResponse();
  expect(data).toMatchObject({
    object: "chat.completion",
    model: "tiny",
    choices: [{ index: 0, message: { role: "assistant", content: "Hello, wörld 🌍" }, finish_reason: "stop" }],
    usage: { prompt_tokens: 7, completion_tokens: 3, total_tokens: 10 },
  });
  expect(data.id).toBe(`chatcmpl-${response.headers.get("x-muster-job-id")}`);
  expect(response.headers.get("x-muster-worker-id")).toBe("worker-1");
  expect(fleet.engine.requests[0]?.body).toMatchObject({ messages: MESSAGES, temperature: 0.5 });
  const stored = await fleet.coordinator.jobs.get(response.headers.get("x-muster-job-id")!);
  expect(stored).toMatchObject({ state: "done", input: null, outcome: { usage: { total_tokens: 10 } } });
  expect(stored?.outcome).not.toHaveProperty("output");
});

test("a chat in pieces, with usage", async () => {
  const stream = await client.chat.completions.create({
    ...{ model: "org/tiny", messages: MESSAGES, stream: true, stream_options: { include_usage: true } },
  });
  const chunks = await Array.fromAsync(stream);
  const texts = chunks.map(({ choices }) => choices[0]?.delta.content ?? "").filter(Boolean);
  expect(texts).toEqual(["Hello", ", wörld 🌍"]);
  expect(new Set(chunks.map(({ id, model }) => `${id} ${model}`)).size).toBe(1);
  expect(chunks.flatMap(({ choices }) => choices.map(({ finish_reason }) => finish_reason)).at(-1)).toBe("stop");
  expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { total_tokens: 10 } });

  const without = await client.chat.completions.create({ model: "tiny", messages: MESSAGES, stream: true });
  expect((await Array.fromAsync(without)).some(({ usage }) => usage)).toBe(false);
});

test("tools, by both ways", async () => {
  fleet.engine.script.pieces = [{ call: { name: "weather", arguments: { city: "Łódź" } } }];
  const parameters = { type: "object", properties: { city: { type: "string" } } };
  const tools = [{ type: "function" as const, function: { name: "weather", parameters } }];
  const request = { model: "tiny", messages: MESSAGES, tools, tool_choice: "auto" as const };
  const { choices } = await client.chat.completions.create(request);
  expect(choices[0]).toMatchObject({
    message: { content: null, tool_calls: [{ function: { name: "weather", arguments: '{"city":"Łódź"}' } }] },
    finish_reason: "tool_calls",
  });
  const final = await client.chat.completions.stream(request).finalChatCompletion();
  expect(final.choices[0]?.message.tool_calls).toMatchObject([
    { function: { name: "weather", arguments: '{"city":"Łódź"}' } },
  ]);
  expect(fleet.engine.requests[0]?.body).toMatchObject({ tools, tool_choice: "auto" });
});

test("an answer in JSON of a schema is asked of the engine", async () => {
  const response_format = { type: "json_schema" as const, json_schema: { name: "a", schema: { type: "object" } } };
  await client.chat.completions.create({ model: "tiny", messages: MESSAGES, response_format });
  expect(fleet.engine.requests[0]?.body).toMatchObject({ response_format });
});

test("a completion, whole and in pieces", async () => {
  const whole = await client.completions.create({ model: "tiny", prompt: "Once" });
  expect(whole).toMatchObject({ object: "text_completion", choices: [{ text: "Hello, wörld 🌍" }] });
  const stream = await client.completions.create({ model: "tiny", prompt: "Once", stream: true });
  const texts = (await Array.fromAsync(stream)).map(({ choices }) => choices[0]?.text ?? "");
  expect(texts.join("")).toBe("Hello, wörld 🌍");
});

test("embeddings as base64, which the client asks for by itself, and as numbers", async () => {
  const input = ["a", "four"];
  const expected = [
    [1, 0.5, -0.25],
    [4, 0.5, -0.25],
  ];
  const usual = await client.embeddings.create({ model: "vectors", input });
  expect(usual.data.map(({ embedding }) => Array.from(embedding))).toEqual(expected);
  expect(fleet.engine.requests[0]?.body).toMatchObject({ encoding_format: "base64", input });
  const floats = await client.embeddings.create({ model: "vectors", input, encoding_format: "float", dimensions: 3 });
  expect(floats).toMatchObject({ object: "list", usage: { prompt_tokens: 7, total_tokens: 7 } });
  expect(floats.data.map(({ embedding }) => embedding)).toEqual(expected);
  expect(fleet.engine.requests[1]?.body).toMatchObject({ dimensions: 3 });
});

test("ocr, whole and page by page", async () => {
  const ocr = (change: object) =>
    fetch(`${fleet.coordinator.url}/v1/ocr`, {
      method: "POST",
      headers: { authorization: `Bearer ${KEY}` },
      body: JSON.stringify({ model: "eyes", pages: [PNG, PNG], ...change }),
    });
  const text = "Hello, wörld 🌍";
  expect(await (await ocr({})).json()).toMatchObject({
    ...{
      text: `${text}\n\n${text}`,
      pages: [
        { page: 1, text },
        { page: 2, text },
      ],
      usage: { total_tokens: 20 },
    },
  });
  const lines = (await (await ocr({ stream: true, stream_options: { include_usage: true } })).text()).match(
    /^data: .*$/gm,
  );
  expect(lines?.map((line) => line.slice("data: ".length))).toEqual([
    ...[1, 2].map((page) => JSON.stringify({ object: "ocr.page", page, text })),
    expect.stringContaining('"object":"ocr.usage","usage":{"prompt_tokens":14'),
    "[DONE]",
  ]);
  expect((await ocr({ pages: ["no image"] })).status).toBe(400);
});

test("models", async () => {
  const models = await Array.fromAsync(client.models.list());
  expect(models.map(({ id, object }) => `${object} ${id}`)).toEqual(["model eyes", "model tiny", "model vectors"]);
  expect(await client.models.retrieve("tiny")).toMatchObject({
    id: "tiny",
    muster: { state: "ready", ready: 1, workers: 1, aliases: ["org/tiny"] },
  });
  await expect(client.models.retrieve("nothing")).rejects.toBeInstanceOf(OpenAI.NotFoundError);
});

test("errors are those of OpenAI's API", async () => {
  const chat = (change: object = {}) =>
    client.chat.completions.create({ model: "tiny", messages: MESSAGES, ...change } as never) as Promise<unknown>;
  const stranger = new OpenAI({ baseURL: client.baseURL, apiKey: "wrong", maxRetries: 0 });
  await expect(stranger.models.list()).rejects.toMatchObject({ status: 401, code: "invalid_api_key" });
  await expect(chat({ model: "nothing" })).rejects.toMatchObject({ status: 404, code: "model_not_found" });
  await expect(chat({ messages: [] })).rejects.toMatchObject({ status: 400, type: "invalid_request_error" });
  await expect(chat({ temperature: -1 })).rejects.toMatchObject({
    ...{ status: 400, code: "invalid_request" },
    message: expect.stringContaining("temperature"),
  });
  await expect(chat({ messages: [{ role: "user", content: "x".repeat(17e6) }] })).rejects.toMatchObject({
    status: 413,
  });
  await expect(client.embeddings.create({ model: "tiny", input: "a" })).rejects.toMatchObject({
    ...{ status: 400, code: "unsupported" },
  });
  fleet.engine.script.refuse = { status: 400, message: "no such thing" };
  await expect(chat()).rejects.toMatchObject({ status: 400, code: "invalid_request" });
  await expect(chat({ stream: true })).rejects.toMatchObject({ status: 400, code: "invalid_request" });
});

test("an error in the middle of a stream reaches the client", async () => {
  fleet.engine.script.fault = { piece: 1, kind: "error" };
  fleet.engine.script.refuse = null;
  const stream = await client.chat.completions.create(
    { model: "tiny", messages: MESSAGES, stream: true },
    { headers: { "x-muster-timeout-ms": "3000" } },
  );
  const texts: string[] = [];
  const reading = (async () => {
    for await (const { choices } of stream) texts.push(choices[0]?.delta.content ?? "");
  })();
  await expect(reading).rejects.toBeInstanceOf(OpenAI.APIError);
  expect(texts.join("")).toBe("Hello");
});

test("who goes has cancelled: the engine stops, whole or in pieces", async () => {
  fleet.engine.script.endless = true;
  const stream = await client.chat.completions.create({ model: "tiny", messages: MESSAGES, stream: true });
  for await (const _ of stream) break;
  await fleet.engine.requests[0]!.gone;

  const controller = new AbortController();
  const whole = client.chat.completions.create({ model: "tiny", messages: MESSAGES }, { signal: controller.signal });
  await fleet.engine.asked("/v1/chat/completions", 1);
  controller.abort();
  await expect(whole).rejects.toBeInstanceOf(OpenAI.APIUserAbortError);
  await fleet.engine.requests[1]!.gone;
  const jobs = await fleet.coordinator.jobs.list({ limit: 2 });
  await until("both are cancelled", async () => {
    const now = await Promise.all(jobs.map(({ id }) => fleet.coordinator.jobs.get(id)));
    return now.every((job) => job?.state === "cancelled");
  });
});
