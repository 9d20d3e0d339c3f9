import fc from "fast-check";
import { expect, test } from "vitest";
import { classOf, fromToken, Names, toToken } from "../../../src/coordinator/nats/names.ts";

const anything = fc.oneof(fc.string({ unit: "binary", maxLength: 60 }), fc.string({ unit: "grapheme", maxLength: 60 }));
/** Half surrogate pairs too, as JSON may hold them. */
const units = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 40 })
  .map((codes) => String.fromCharCode(...codes));

test("any text becomes one token of a subject and of a key, and is had back", () => {
  fc.assert(
    fc.property(fc.oneof(anything, units), (text) => {
      const token = toToken(text);
      expect(token).toMatch(/^[A-Za-z0-9_=-]+$/);
      if (!token.startsWith("=h")) expect(fromToken(token)).toBe(text);
    }),
    { numRuns: 500 },
  );
  expect(toToken("mistralai/Mistral-7B:q4.gguf")).toBe("mistralai=2FMistral-7B=3Aq4=2Egguf");
});

test("what is too long has a token of its own all the same", () => {
  const [one, other] = [`${"é".repeat(256)}a`, `${"é".repeat(256)}b`];
  expect(toToken(one)).not.toBe(toToken(other));
  expect(toToken(one).length).toBeLessThan(100);
  expect(fromToken(toToken(one))).toBeNull();
});

test("no job has the subject of another", () => {
  const names = new Names("muster");
  const job = { id: "a.b", client: null, priority: 3, kind: "chat", model: "x/y" } as const;
  expect(names.job(job)).toBe("muster.jobs.high.chat.x=2Fy.=n.a=2Eb");
  expect(names.job({ ...job, client: "=n" })).not.toBe(names.job(job));
  expect(names.job({ ...job, client: "" })).not.toBe(names.job(job));
  expect([1, 0, -1].map(classOf)).toEqual(["high", "normal", "low"]);
});
