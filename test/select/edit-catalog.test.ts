import fc from "fast-check";
import { expect, it } from "vitest";
import { addModel, addToType, editText, removeEntry, removeFromType } from "../../src/select/edit-catalog.ts";

const entry = { task: "chat" as const, variants: [{ source: "path" as const, path: "/m", engine: "vllm" as const }] };
const id = fc.stringMatching(/^[a-z][a-z0-9.-]{0,8}$/);
const catalog = fc
  .tuple(fc.uniqueArray(id, { minLength: 1, maxLength: 4 }), fc.constantFrom(2, 4, "\t"), fc.constantFrom("\n", "\r\n"))
  .map(([ids, indent, eol]) => {
    const models = Object.fromEntries(ids.map((each) => [each, { ...entry, description: 'ä { [ , \\ "' }]));
    const text = JSON.stringify({ models, workerTypes: { t: { gpu: "none", models: ids } } }, null, indent);
    return { ids, text: `${text}\n`.replaceAll("\n", eol) };
  });

it("adds to a catalog, however it is written, and takes away again without a trace", async () => {
  await fc.assert(
    fc.asyncProperty(catalog, id, fc.boolean(), async ({ ids, text }, added, optional) => {
      fc.pre(!ids.includes(added));
      const after = await editText(text, [addModel(added, entry), addToType("t", added, { optional })]);
      const parsed = JSON.parse(after);
      expect(Object.keys(parsed.models).toSorted()).toEqual([...ids, added].toSorted());
      expect(parsed.workerTypes.t.models).toEqual([...ids, optional ? { model: added, optional } : added]);
      expect(after.split("\r\n").length > 1).toBe(text.includes("\r\n"));
      expect(await editText(after, [...removeFromType("t", [ids.length]), removeEntry(added)])).toBe(text);
    }),
    { numRuns: 50 },
  );
});

it("leaves what stands around it as somebody wrote it", async () => {
  const types = '  "workerTypes": { "t": { "models": ["a",   "b"] } }';
  const text = `{\n  "models": {\n    "a" : {"task": "chat"},\n    "b": {}\n  },\n${types}\n}\n`;
  const after = await editText(text, [addModel("c", entry)]);
  expect(after.split("\n")).toEqual(expect.arrayContaining(['    "a" : {"task": "chat"},', types]));
});

it("removes several places of a list", async () => {
  const text = JSON.stringify({ workerTypes: { t: { models: ["a", "b", "a", "c"] } } });
  expect(JSON.parse(await editText(text, removeFromType("t", [0, 2])))).toEqual({
    workerTypes: { t: { models: ["b", "c"] } },
  });
});
