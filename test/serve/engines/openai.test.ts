import { describe, expect, test } from "vitest";
import { openAiEngine } from "../../../src/serve/engines/openai.ts";
import { type OpenAiEngine, startOpenAiEngine } from "../../fakes/openai-engine.ts";
import { CHAT, describeEngine, failure, keptCall, MODEL, type Target, wholly } from "./contract.ts";

const never = () => new AbortController().signal;

function over(server: OpenAiEngine, kind: "vllm" | "openai" = "vllm", apiKey: string | null = null): Target {
  return {
    engine: openAiEngine({ kind, url: `${server.url}/v1/`, apiKey }),
    server,
    paths: { chat: "/v1/chat/completions", completion: "/v1/completions", embedding: "/v1/embeddings" },
    images: ({ messages }) =>
      messages
        .flatMap(({ content }: { content: object[] }) => content)
        .filter(({ type }: { type: string }) => type === "image_url")
        .map(({ image_url }: { image_url: { url: string } }) => Buffer.from(image_url.url.split(",")[1]!, "base64")),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

describeEngine("vLLM", async () => over(await startOpenAiEngine()));

describe("OpenAI's API", () => {
  test("bodies go through as they are, but for the name of the model and the streaming", async () => {
    await using target = over(await startOpenAiEngine());
    const body = {
      ...CHAT,
      model: "whatever",
      stream: false,
      temperature: 0.2,
      response_format: { type: "json_schema", json_schema: { name: "x", schema: { type: "object" } } },
      guided_choice: ["a"],
      stream_options: { continuous_usage_stats: true },
    };
    await target.engine.run("chat", MODEL, body, wholly());
    expect(target.server.requests[0]?.body).toEqual({
      ...body,
      model: "org/model",
      stream: true,
      stream_options: { continuous_usage_stats: true, include_usage: true },
    });
  });

  test.each(["\n", "\r\n", "\r"])("line ends %j", async (newline) => {
    await using server = await startOpenAiEngine();
    server.newline = newline;
    server.script.packet = 5;
    const { output } = await over(server).engine.run("chat", MODEL, CHAT, wholly());
    expect(output).toMatchObject({ choices: [{ message: { content: "Hello, wörld 🌍" }, finish_reason: "stop" }] });
  });

  test("an answer without [DONE] is whole where it said why it ended", async () => {
    await using server = await startOpenAiEngine();
    server.noDone = true;
    const { output } = await over(server).engine.run("chat", MODEL, CHAT, wholly());
    expect(output).toMatchObject({ choices: [{ finish_reason: "stop" }] });
  });

  test("the key is shown, and told of where it is missing", async () => {
    await using server = await startOpenAiEngine();
    server.apiKey = "s3cr3t-key";
    await over(server, "vllm", "s3cr3t-key").engine.run("chat", MODEL, CHAT, wholly());
    const { engine } = over(server);
    expect(await engine.probe(never())).toMatchObject({ reachable: true, models: null });
    const error = await failure(engine.warmUp(MODEL, never()));
    expect(error).toMatchObject({ code: "ENGINE_DOWN", hint: expect.stringContaining("VLLM_API_KEY") });
  });

  test("credentials in the URL are sent as a header, and shown nowhere", async () => {
    await using server = await startOpenAiEngine();
    const url = server.url.replace("//", "//user:pa%20ss@");
    const engine = openAiEngine({ kind: "openai", url, apiKey: null });
    await engine.run("chat", MODEL, CHAT, wholly());
    expect(server.requests[0]?.headers.authorization).toBe(`Basic ${Buffer.from("user:pa ss").toString("base64")}`);
    expect(engine.url).toBe(server.url);
  });

  test("texts that are too many at once for the engine are sent in parts", async () => {
    await using server = await startOpenAiEngine();
    server.maxBatch = 3;
    const input = Array.from({ length: 10 }, (_, index) => "x".repeat(index));
    const { output, usage } = await over(server).engine.run("embedding", MODEL, { input }, wholly());
    const data = output.data as { index: number; embedding: number[] }[];
    expect(data.map(({ index, embedding }) => [index, embedding[0]])).toEqual(input.map((_, index) => [index, index]));
    expect(usage).toEqual({ prompt_tokens: 28, total_tokens: 28 });
    server.maxBatch = 0;
    expect(await failure(over(server).engine.run("embedding", MODEL, { input }, wholly()))).toMatchObject({
      code: "PAYLOAD_TOO_LARGE",
    });
  });

  test("an engine that knows no base64 has its numbers encoded", async () => {
    await using server = await startOpenAiEngine();
    server.base64 = false;
    const body = { input: "ab", encoding_format: "base64" };
    const { output } = await over(server).engine.run("embedding", MODEL, body, wholly());
    expect(output.data).toEqual([
      {
        object: "embedding",
        index: 0,
        embedding: Buffer.from(Float32Array.of(2, 0.5, -0.25).buffer).toString("base64"),
      },
    ]);
  });

  test("what it lists is told; without a list it is asked as TEI is", async () => {
    await using server = await startOpenAiEngine();
    server.models = ["a", "b"];
    expect(await over(server).engine.probe(never())).toEqual({
      reachable: true,
      version: "0.11.0",
      models: ["a", "b"],
    });
    expect(await over(server, "openai").engine.probe(never())).toMatchObject({ reachable: true, version: null });
    server.models = [];
    expect(await over(server).engine.probe(never())).toMatchObject({ reachable: true, models: null });
    server.models = null;
    expect(await over(server, "openai").engine.probe(never())).toEqual({
      reachable: true,
      version: "1.8.0",
      models: ["org/model"],
    });
  });

  test("a job that the engine has no route for is UNSUPPORTED", async () => {
    await using server = await startOpenAiEngine();
    server.script.refuse = { status: 404, message: "Not Found" };
    expect(await failure(over(server).engine.run("embedding", MODEL, { input: "x" }, wholly()))).toMatchObject({
      code: "UNSUPPORTED",
    });
  });

  test("vectors of fewer texts than were sent are no answer", async () => {
    await using server = await startOpenAiEngine();
    for (const [mostVectors, input] of [
      [0, "x"],
      [1, ["x", "y"]],
    ] as [number, string | string[]][]) {
      server.mostVectors = mostVectors;
      expect(await failure(over(server).engine.run("embedding", MODEL, { input }, wholly()))).toMatchObject({
        message: expect.stringContaining("not as its API has it"),
      });
    }
  });

  test("a model that finds fault with the smallest request is loaded", async () => {
    await using server = await startOpenAiEngine();
    server.script.refuse = { status: 400, message: "an image is required" };
    await over(server).engine.warmUp({ ...MODEL, task: "ocr" }, never());
    expect(server.requests).toHaveLength(1);
  });

  test("reasoning, as newer versions of vLLM have it, has one name", async () => {
    await using server = await startOpenAiEngine();
    server.script.pieces = [{ thinking: "hm" }, { text: "yes" }];
    server.reasoning = "reasoning";
    const { call, chunks } = keptCall();
    const { output } = await over(server).engine.run("chat", MODEL, CHAT, call);
    expect(chunks[1].choices[0].delta).toEqual({ reasoning_content: "hm" });
    expect(output).toMatchObject({
      choices: [{ message: { role: "assistant", content: "yes", reasoning_content: "hm" } }],
    });
  });

  test("several choices are put together each by itself", async () => {
    await using server = await startOpenAiEngine();
    const { call, chunks } = keptCall();
    const { output } = await over(server).engine.run("chat", MODEL, { ...CHAT, n: 3 }, call);
    expect(new Set(chunks.map(({ choices }) => choices[0].index))).toEqual(new Set([0, 1, 2]));
    expect(output.choices).toMatchObject(
      [0, 1, 2].map((index) => ({ index, message: { content: "Hello, wörld 🌍" }, finish_reason: "stop" })),
    );
  });
});
