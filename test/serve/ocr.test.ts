import { describe, expect, it } from "vitest";
import { jobError } from "../../src/job.ts";
import { JOB_LIMITS } from "../../src/serve/limits.ts";
import { type RunOptions, runJob } from "../../src/serve/run-job.ts";
import { type Asked, chatAnswer, FakeEngine } from "./fake-engine.ts";
import { IMAGES, PNG } from "./images.ts";
import { calls, chatJob } from "./serving.ts";

const GIF = IMAGES["image/gif"]!.toString("base64");
const JPEG = IMAGES["image/jpeg"]!.toString("base64");

function read(
  input: unknown,
  engine: FakeEngine,
  { stream = false, ...rest }: Partial<RunOptions> & { stream?: boolean } = {},
) {
  const model = { id: "llava", task: "vision", name: "llava:7b", context: null } as const;
  const job = chatJob({ kind: "ocr", input, stream });
  return runJob(job, { ...calls(), limits: JOB_LIMITS, engine, model, ...rest });
}

/** What the page's image is, and what is asked about it. */
function seen({ body }: Asked): { type: string; text: string } {
  const [message] = body.messages as { content: [{ image_url: { url: string } }, { text: string }] }[];
  const [image, { text }] = message!.content;
  return { type: /^data:image\/(\w+)/.exec(image.image_url.url)![1]!, text };
}

const byType = () => new FakeEngine((asked) => chatAnswer(`a ${seen(asked).type}`));
const broken = () => jobError("OUT_OF_MEMORY", "No room.", "Wait.");

describe("pages", () => {
  it("are read one after another, and the answer holds all of them", async () => {
    const engine = byType();
    const outcome = await read({ pages: [PNG, `data:;base64,${GIF}`, JPEG] }, engine);
    const usage = { prompt_tokens: 9, completion_tokens: 6, total_tokens: 15 };
    expect(outcome).toMatchObject({
      status: "done",
      usage,
      output: {
        text: "a png\n\na gif\n\na jpeg",
        pages: [
          { page: 1, text: "a png" },
          { page: 2, text: "a gif" },
          { page: 3, text: "a jpeg" },
        ],
        usage,
      },
    });
    expect(engine.asked.map(({ kind, call }) => [kind, call.onChunk])).toEqual(Array(3).fill(["chat", null]));
  });

  it("never take more than one of the engine's places at once", async () => {
    let most = 0;
    const engine = byType();
    const { script } = engine;
    engine.script = (asked) => {
      most = Math.max(most, engine.working);
      return script(asked);
    };
    await read({ pages: Array(8).fill(PNG) }, engine);
    expect([most, engine.asked.length]).toEqual([1, 8]);
  });

  it("that fail leave the others be", async () => {
    const engine = new FakeEngine((asked) => {
      if (seen(asked).type === "gif") throw broken();
      return chatAnswer("a", seen(asked).type === "jpeg" ? "length" : "stop");
    });
    const { chunks, onChunk } = calls();
    const outcome = await read({ pages: [PNG, GIF, JPEG] }, engine, { stream: true, onChunk });
    const pages = [
      { page: 1, text: "a" },
      { page: 2, error: { code: "OUT_OF_MEMORY", message: "No room." } },
      { page: 3, text: "a", truncated: true },
    ];
    expect(outcome).toMatchObject({ status: "done", output: { text: "a\n\na", pages } });
    expect(chunks).toEqual(pages);
  });

  it("that all fail are a job that fails, with the first error", async () => {
    let nth = 0;
    const engine = new FakeEngine(() => {
      nth += 1;
      throw nth === 1 ? broken() : new Error("other");
    });
    const { chunks, onChunk } = calls();
    const outcome = await read({ pages: [PNG, GIF] }, engine, { stream: true, onChunk });
    expect(outcome).toMatchObject({ status: "failed", error: { code: "OUT_OF_MEMORY", retryable: true } });
    expect(chunks).toMatchObject([
      { page: 1, error: {} },
      { page: 2, error: { code: "INTERNAL" } },
    ]);
  });

  it("share the bound of the answer", async () => {
    const engine = byType();
    await read({ pages: [PNG, PNG, PNG] }, engine, { limits: { ...JOB_LIMITS, outputBytes: 12 } });
    expect(engine.asked.map(({ call }) => call.maxOutputBytes)).toEqual([12, 7, 2]);
  });

  it("an answer without a text is the page's error", async () => {
    const engine = new FakeEngine(() => ({ output: { choices: [] }, usage: {} }));
    expect(await read({ image: PNG }, engine)).toMatchObject({ status: "failed", error: { code: "INTERNAL" } });
  });
});

describe("an abort", () => {
  it("between two pages ends the job; who does not take a page cannot hold it up", async () => {
    const stop = new AbortController();
    const engine = byType();
    const onChunk = () => {
      queueMicrotask(() => stop.abort(jobError("CANCELLED", "No more.", "Nothing.")));
      return new Promise<void>(() => undefined);
    };
    const outcome = await read({ pages: [PNG, GIF] }, engine, { stream: true, onChunk, signal: stop.signal });
    expect(outcome).toMatchObject({ status: "cancelled" });
    expect(engine.asked).toHaveLength(1);
  });

  it("while a page is read is no error of that page", async () => {
    const stop = new AbortController();
    const { chunks, onChunk } = calls();
    const engine = new FakeEngine(() => {
      stop.abort(jobError("LEASE_LOST", "Too late.", "Nothing."));
      return new Promise(() => undefined);
    });
    const outcome = await read({ pages: [PNG, GIF] }, engine, { stream: true, onChunk, signal: stop.signal });
    expect(outcome).toMatchObject({ status: "failed", error: { code: "LEASE_LOST" } });
    expect([chunks, engine.asked.length]).toEqual([[], 1]);
  });
});

describe("formats", () => {
  it.each([
    ["text", "plain text"],
    ["markdown", "as Markdown"],
  ])("%s is asked for in words, and a prompt of the job's own takes their place", async (format, words) => {
    const engine = byType();
    await read({ image: PNG, format }, engine);
    await read({ image: PNG, format, prompt: "<|grounding|>OCR this image." }, engine);
    expect(seen(engine.asked[0]!).text).toContain(words);
    expect(seen(engine.asked[1]!).text).toBe("<|grounding|>OCR this image.");
    expect(engine.chats[0]).toMatchObject({ temperature: 0 });
    expect(engine.chats[0]).not.toHaveProperty("response_format");
  });

  const schema = { type: "object", properties: { total: { type: "number" } } };
  it("json is asked for by the engine's own means too", async () => {
    const engine = new FakeEngine(() => chatAnswer('```json\n{ "total": 7 }\n```'));
    const plain = await read({ pages: [PNG, PNG], format: "json" }, engine);
    expect(plain).toMatchObject({
      output: { text: '{"total":7}\n{"total":7}', pages: [{ page: 1, data: { total: 7 } }, { data: { total: 7 } }] },
    });
    await read({ image: PNG, format: "json", schema, prompt: "The sum." }, engine);
    expect(engine.chats.map(({ response_format }) => response_format)).toEqual([
      { type: "json_object" },
      { type: "json_object" },
      { type: "json_schema", json_schema: { name: "page", schema, strict: true } },
    ]);
    expect(seen(engine.asked[2]!).text).toMatch(/^The sum\.\nAnswer with JSON alone.*"total"/s);
  });

  it("JSON that is none is asked for once more", async () => {
    const answers = ["The total is 7.", "null"];
    const engine = new FakeEngine(() => chatAnswer(answers.shift()!));
    const outcome = await read({ image: PNG, format: "json" }, engine);
    expect(outcome).toMatchObject({ status: "done", output: { pages: [{ page: 1, data: null }] } });
    expect(outcome.usage).toMatchObject({ total_tokens: 10 });
    expect(engine.chats[1]!.messages).toMatchObject([
      { role: "user" },
      { role: "assistant", content: "The total is 7." },
      { role: "user", content: expect.stringContaining("not valid JSON") },
    ]);
  });

  it("what is not as the schema has it is asked for once more, with what is wrong", async () => {
    const answers = ['{ "total": "seven" }', '{ "total": 7 }'];
    const engine = new FakeEngine(() => chatAnswer(answers.shift()!));
    const outcome = await read({ image: PNG, format: "json", schema: { ...schema, required: ["total"] } }, engine);
    expect(outcome).toMatchObject({ status: "done", output: { pages: [{ page: 1, data: { total: 7 } }] } });
    expect(engine.chats[1]!.messages.at(-1)).toMatchObject({
      role: "user",
      content: expect.stringContaining("not as the JSON Schema has it: total must be number."),
    });
  });

  it("and is that page's error when it comes again", async () => {
    const engine = new FakeEngine((asked) => chatAnswer(seen(asked).type === "gif" ? '{"total":"x"}' : '{"total":7}'));
    const outcome = await read({ pages: [PNG, GIF, PNG], format: "json", schema }, engine);
    expect(outcome).toMatchObject({
      status: "done",
      output: {
        text: '{"total":7}\n{"total":7}',
        pages: [
          { page: 1, data: { total: 7 } },
          { page: 2, error: { code: "INTERNAL", message: "The answer is JSON, and not as the schema has it." } },
          { page: 3, data: { total: 7 } },
        ],
      },
    });
    expect(engine.asked).toHaveLength(4);
  });

  it("a schema that is none is refused before the engine is asked", async () => {
    const engine = byType();
    const outcome = await read({ image: PNG, format: "json", schema: { type: "nothing such" } }, engine);
    expect(outcome).toMatchObject({
      status: "failed",
      error: { code: "INVALID_INPUT", message: expect.stringMatching(/^schema: /) },
    });
    expect(engine.asked).toEqual([]);
  });

  it("a model's own words take the place of ours, and the job's own the place of both", async () => {
    const prompts = { markdown: "<|grounding|>Convert the document to markdown." };
    const model = { id: "deepseek-ocr", task: "ocr", name: "x", context: null, prompts } as const;
    const engine = byType();
    await read({ image: PNG, format: "markdown" }, engine, { model });
    await read({ image: PNG, format: "text" }, engine, { model });
    await read({ image: PNG, format: "markdown", prompt: "Mine." }, engine, { model });
    expect(engine.asked.map((asked) => seen(asked).text)).toEqual([
      prompts.markdown,
      expect.stringContaining("plain text"),
      "Mine.",
    ]);
  });

  it("and no more than once", async () => {
    const engine = new FakeEngine(() => chatAnswer('{ "total": ', "length"));
    expect(await read({ image: PNG, format: "json" }, engine)).toMatchObject({
      status: "failed",
      error: { code: "INTERNAL", message: expect.stringContaining("in the middle of the JSON") },
    });
    expect(engine.asked).toHaveLength(2);
  });
});

it.each<[string, unknown, string, string?]>([
  ["nothing", undefined, "input: "],
  ["neither image nor pages", {}, "image: an ocr job takes image or pages"],
  ["both", { image: PNG, pages: [PNG] }, "image: an ocr job takes image or pages"],
  ["no pages", { pages: [] }, "pages: must hold at least one page"],
  ["a page that is none", { pages: [PNG, 7] }, "pages.1: expected string, received number"],
  ["an address", { pages: [PNG, "http://169.254.169.254/"] }, "pages.1: must hold the image's bytes"],
  ["a file", { image: "file:///etc/passwd" }, "image: must hold the image's bytes"],
  ["a document", { image: Buffer.from("%PDF-1.7 and more").toString("base64") }, "image: "],
  ["a format of its own", { image: PNG, format: "html" }, "format: "],
  ["a schema for a text", { image: PNG, schema: {} }, "schema: is taken with format json only"],
  ["a schema that is none", { image: PNG, format: "json", schema: [] }, "schema: "],
  ["too many pages", { pages: Array(65).fill(PNG) }, "pages: are more than 64", "PAYLOAD_TOO_LARGE"],
])("%s is refused by name", async (_what, input, message, code = "INVALID_INPUT") => {
  const engine = byType();
  const { error } = await read(input, engine);
  expect(error?.code).toBe(code);
  expect(error?.message.startsWith(message), error?.message).toBe(true);
  expect(engine.asked).toEqual([]);
});
