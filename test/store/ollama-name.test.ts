import fc from "fast-check";
import { expect, it } from "vitest";
import { fullName, parseOllamaName, pinnedDigest, readOllamaName } from "../../src/store/ollama-name.ts";

it.each([
  ["llava:7b", ["https", "registry.ollama.ai", "library", "llava", "7b"]],
  ["llama3.2", ["https", "registry.ollama.ai", "library", "llama3.2", "latest"]],
  ["acme/tiny", ["https", "registry.ollama.ai", "acme", "tiny", "latest"]],
  ["hf.co/Acme/Tiny-GGUF:Q4_K_M", ["https", "hf.co", "Acme", "Tiny-GGUF", "Q4_K_M"]],
  ["localhost:5000/acme/tiny:8b", ["https", "localhost:5000", "acme", "tiny", "8b"]],
  ["http://10.0.0.1:5000/acme/tiny", ["http", "10.0.0.1:5000", "acme", "tiny", "latest"]],
  ["https://example.com/_x/y", ["https", "example.com", "_x", "y", "latest"]],
])("%s", (text, [scheme, host, namespace, model, tag]) => {
  expect(parseOllamaName(text)).toEqual({ scheme, host, namespace, model, tag });
});

it.each([
  "",
  ":tag",
  "a:",
  "a:b:c",
  "a/b/c/d",
  "../../etc/passwd",
  "a/../b",
  ".hidden",
  "-x",
  "a b",
  "own.er/model",
  "localhost:5000/tiny",
  "ftp://host/a/b",
  "a\n",
  "x".repeat(81),
  `a:${"x".repeat(81)}`,
])("refuses %j", (text) => {
  expect(readOllamaName(text)).toBeNull();
  expect(() => parseOllamaName(text)).toThrow(expect.objectContaining({ code: "CATALOG_INVALID" }));
});

it("is one name in every spelling", () => {
  expect(
    new Set(
      ["Llava", "llava:latest", "library/LLAVA", "https://registry.ollama.ai/library/llava:latest"].map(fullName),
    ),
  ).toEqual(new Set(["registry.ollama.ai/library/llava:latest"]));
});

it("never leads out of a folder, whatever is written", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[\w./:-]{0,40}$/)), (text) => {
      try {
        const { scheme: _, ...parts } = parseOllamaName(text);
        return Object.values(parts).every((part) => /^\w[\w.:-]*$/.test(part));
      } catch {
        return true;
      }
    }),
    { numRuns: 2000 },
  );
});

it("a digest pins, a branch's name does not", () => {
  const hex = "0123456789abcdef".repeat(4);
  expect([hex, `sha256:${hex}`, "main", "latest", hex.slice(1)].map(pinnedDigest)).toEqual([
    hex,
    hex,
    null,
    null,
    null,
  ]);
});
