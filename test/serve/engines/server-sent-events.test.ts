import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { lines } from "../../../src/serve/engines/lines.ts";
import { type ServerSentEvent, serverSentEvents } from "../../../src/serve/engines/server-sent-events.ts";
import { failure } from "./contract.ts";

async function* pieces(bytes: Uint8Array, cuts: number[]): AsyncGenerator<Uint8Array> {
  const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
  for (let index = 1; index < at.length; index += 1) yield bytes.subarray(at[index - 1], at[index]);
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const each of source) found.push(each);
  return found;
}

const parse = (text: string, cuts: number[] = [], max = 1e6) =>
  all(serverSentEvents(pieces(Buffer.from(text), cuts), max));

describe("server-sent events", () => {
  test.each<[string, string, ServerSentEvent[]]>([
    ["one", "data: a\n\n", [{ event: "message", data: "a" }]],
    [
      "CRLF",
      "data: a\r\n\r\ndata: b\r\n\r\n",
      [
        { event: "message", data: "a" },
        { event: "message", data: "b" },
      ],
    ],
    [
      "CR",
      "data: a\r\rdata: b\r\r",
      [
        { event: "message", data: "a" },
        { event: "message", data: "b" },
      ],
    ],
    ["no space after the colon", "data:a\n\n", [{ event: "message", data: "a" }]],
    ["one space is taken, two are not", "data:  a\n\n", [{ event: "message", data: " a" }]],
    ["several lines", "data: a\ndata: b\n\n", [{ event: "message", data: "a\nb" }]],
    ["comments, ids, unknown fields", ": hi\n\nid: 1\nretry: 5\nx: y\ndata: a\n\n", [{ event: "message", data: "a" }]],
    [
      "a named event",
      "event: error\ndata: a\n\ndata: b\n\n",
      [
        { event: "error", data: "a" },
        { event: "message", data: "b" },
      ],
    ],
    ["an error as older llama.cpp has it", 'error: {"code":500}\n\n', [{ event: "error", data: '{"code":500}' }]],
    ["an empty one", "data\n\n", [{ event: "message", data: "" }]],
    ["a byte order mark", "\ufeffdata: a\n\n", [{ event: "message", data: "a" }]],
    ["one that is cut off", "data: a\n\ndata: b\n", [{ event: "message", data: "a" }]],
    ["nothing", "", []],
  ])("%s", async (_what, text, expected) => {
    expect(await parse(text)).toEqual(expected);
  });

  test("are the same however the bytes are cut", async () => {
    const line = fc.string({ unit: "grapheme", maxLength: 12 }).map((text) => text.replace(/[\r\n]/g, ""));
    const event = fc.record({
      before: fc.constantFrom("", ": comment\n", "id: 7\n"),
      data: fc.array(line, { minLength: 1, maxLength: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(event, { maxLength: 6 }),
        fc.constantFrom("\n", "\r\n", "\r"),
        fc.array(fc.nat(), { maxLength: 30 }),
        async (events, newline, cuts) => {
          const text = events
            .map(({ before, data }) => `${before}${data.map((each) => `data: ${each}\n`).join("")}\n`)
            .join("")
            .replaceAll("\n", newline);
          expect(await parse(text, cuts)).toEqual(
            events.map(({ data }) => ({ event: "message", data: data.join("\n") })),
          );
        },
      ),
    );
  });

  test("one that is too large is refused before it is kept", async () => {
    expect(await failure(parse(`data: ${"x".repeat(200_000)}`, [50_000, 100_000], 10_000))).toMatchObject({
      code: "PAYLOAD_TOO_LARGE",
    });
    expect(await failure(parse("data: x\n".repeat(5_000), [], 10_000))).toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
  });
});

test("lines are the same however the bytes are cut, and a last one needs no end", async () => {
  const line = fc.string({ unit: "grapheme" }).map((text) => text.replace(/[\r\n\ufeff]/g, ""));
  await fc.assert(
    fc.asyncProperty(fc.array(line), line, fc.array(fc.nat()), async (ended, last, cuts) => {
      const text = ended.map((each) => `${each}\n`).join("") + last;
      expect(await all(lines(pieces(Buffer.from(text), cuts), 1e6))).toEqual(last ? [...ended, last] : ended);
    }),
  );
});
