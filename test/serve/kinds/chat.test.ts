import { describe, expect, it } from "vitest";
import { readChat } from "../../../src/serve/kinds/chat.ts";
import { readCompletion } from "../../../src/serve/kinds/completion.ts";
import { readEmbedding } from "../../../src/serve/kinds/embedding.ts";
import { PNG } from "../images.ts";

const MiB = 2 ** 20;
const says = (content: unknown) => ({ messages: [{ role: "user", content }] });
const image = (url: unknown) => says([{ type: "image_url", image_url: { url } }]);

describe("chat", () => {
  it.each<[string, unknown, unknown?]>([
    ["a text", says("Hi")],
    ["an empty text", says("")],
    ["parts", says([{ type: "text", text: "Hi" }])],
    [
      "a call of tools",
      { messages: [{ role: "assistant", content: null, tool_calls: [{ id: "1", type: "function" }] }] },
    ],
    ["a message without content", { messages: [{ role: "assistant", tool_calls: [{}] }] }],
    ["a tool's answer", { messages: [{ role: "tool", content: "42", tool_call_id: "1", name: "f" }] }],
    ["settings", { ...says("Hi"), max_tokens: 7, temperature: 0, top_p: 1, n: 1, seed: -3, stop: ["a"] }],
    ["settings that are null", { ...says("Hi"), max_tokens: null, tools: null, response_format: null }],
    ["fields that we do not know", { ...says("Hi"), chat_template_kwargs: { a: [1] }, constructor: 1 }],
    ["a form of the answer", { ...says("Hi"), response_format: { type: "json_schema", json_schema: { a: {} } } }],
    ["an image", image(`data:image/png;base64,${PNG}`)],
    ["an image said to be another kind", image(`data:text/html;base64,${PNG}`), image(`data:image/png;base64,${PNG}`)],
    ["an image with parameters", image(`DATA:image/png;a=b;BASE64,${PNG}`), image(`data:image/png;base64,${PNG}`)],
    [
      "an image and its detail",
      says([{ type: "image_url", image_url: { url: `data:;base64,${PNG}`, detail: "high" } }]),
      says([{ type: "image_url", image_url: { url: `data:image/png;base64,${PNG}`, detail: "high" } }]),
    ],
    [
      "parts, without fields that could be addresses",
      says([{ type: "text", text: "Hi", uuid: "1", image_url: "http://169.254.169.254/", audio_url: { url: "x" } }]),
      says([{ type: "text", text: "Hi" }]),
    ],
  ])("%s", (_what, body, expected = body) => {
    expect(readChat(body, MiB)).toEqual(expected);
  });

  const part = "messages.0.content.0";
  it.each<[string, unknown, string]>([
    ["nothing", undefined, "input: expected object, received undefined"],
    ["a list", [], "input: expected object, received array"],
    ["no messages", {}, "messages: expected array, received undefined"],
    ["an empty list of messages", { messages: [] }, "messages: must hold at least one message"],
    ["a message that is none", { messages: [7] }, "messages.0: expected object, received number"],
    ["a message of nobody", { messages: [{ content: "" }] }, "messages.0.role: expected string, received undefined"],
    ["content that is none", says(7), "messages.0.content: must be a text, a list of parts, or null"],
    ["no parts", says([]), "messages.0.content: must not be empty"],
    ["a part of no type", says([{ text: "Hi" }]), `${part}.type: `],
    [
      "a part that an engine would fetch",
      says([{ type: "video_url", video_url: { url: "http://a" } }]),
      `${part}.type: `,
    ],
    ["an image without its type", says([{ image_url: { url: "http://a" } }]), `${part}.type: `],
    ["a text that is none", says([{ type: "text", text: 7 }]), `${part}.text: expected string, received number`],
    ["an image at an address", image("http://169.254.169.254/"), `${part}.image_url.url: must be a data: URI`],
    ["an image behind TLS", image("https://a/b.png"), `${part}.image_url.url: must be a data: URI`],
    ["an image in a file", image("file:///etc/passwd"), `${part}.image_url.url: must be a data: URI`],
    ["an image at a path", image("/etc/passwd"), `${part}.image_url.url: must be a data: URI`],
    ["an image not in base64", image("data:image/png,%89PNG"), `${part}.image_url.url: must be a data: URI`],
    ["an image that is none", image("data:image/png;base64,aGVsbG8="), `${part}.image_url.url: the bytes are not`],
    ["broken base64", image(`data:image/png;base64,${PNG}=a`), `${part}.image_url.url: must hold the image's bytes`],
    [
      "an address as a text",
      says([{ type: "image_url", image_url: "http://a" }]),
      `${part}.image_url: expected object`,
    ],
    [
      "images besides the parts",
      { messages: [{ role: "user", content: "", images: ["/etc/passwd"] }] },
      "messages.0.images: ",
    ],
    ["images besides the messages", { ...says("Hi"), images: [] }, "images: is not taken"],
    ["max_tokens of no sense", { ...says("Hi"), max_tokens: 0 }, "max_tokens: "],
    ["a temperature in words", { ...says("Hi"), temperature: "hot" }, "temperature: expected number, received string"],
    ["far too many answers", { ...says("Hi"), n: 1000 }, "n: "],
    ["tools that are none", { ...says("Hi"), tools: "all" }, "tools: expected array, received string"],
    ["a form of no type", { ...says("Hi"), response_format: {} }, "response_format.type: "],
  ])("%s is INVALID_INPUT by name", (_what, body, message) => {
    expect(() => readChat(body, MiB)).toThrow(
      expect.objectContaining({ code: "INVALID_INPUT", message: expect.stringMatching(`^${literally(message)}`) }),
    );
  });

  it("keys of prototypes are keys, or nothing", () => {
    const body = JSON.parse(
      '{"messages":[{"role":"user","content":"Hi","__proto__":{"polluted":1}}],"__proto__":{"polluted":1}}',
    );
    const read = readChat(body, MiB);
    expect(read).toEqual(says("Hi"));
    expect([read.polluted, read.messages[0]!.polluted, ({} as Record<string, unknown>).polluted]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });
});

describe.each([
  ["completion", "prompt", readCompletion],
  ["embedding", "input", readEmbedding],
] as const)("%s", (_kind, field, read: (body: unknown) => unknown) => {
  it.each<[unknown]>([["a text"], [""], [["a", "b"]], [[1, 2]], [[[1], [2, 3]]]])("%j", (value) => {
    const body = { [field]: value, user: "me" };
    expect(read({ ...body, model: "x", stream: true })).toEqual(body);
  });

  it.each<[unknown]>([
    [undefined],
    [null],
    [7],
    [[]],
    [[[]]],
    [["a", 1]],
    [[1, "a"]],
    [[-1]],
    [[1.5]],
    [{ a: 1 }],
    [[{}]],
  ])("%j is INVALID_INPUT", (value) => {
    expect(() => read({ [field]: value })).toThrow(
      expect.objectContaining({ code: "INVALID_INPUT", message: expect.stringMatching(`^${field}: must be a text`) }),
    );
  });

  it("messages, which could hold addresses, are INVALID_INPUT", () => {
    expect(() => read({ [field]: "a", messages: [] })).toThrow(/^messages: is not taken/);
  });
});

it("an embedding's form is checked", () => {
  expect(readEmbedding({ input: "a", encoding_format: "base64", dimensions: 8 })).toMatchObject({ dimensions: 8 });
  expect(() => readEmbedding({ input: "a", encoding_format: "hex" })).toThrow(/^encoding_format: /);
  expect(() => readEmbedding({ input: "a", dimensions: 0 })).toThrow(/^dimensions: /);
});

function literally(text: string): string {
  return text.replaceAll(/[.[\]()]/g, "\\$&");
}
