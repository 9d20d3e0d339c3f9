import { describe, expect, test } from "vitest";
import type { ModelSpec } from "../../../src/model.ts";
import { openEngines } from "../../../src/serve/engines/open-engines.ts";
import { servedNames } from "../../../src/serve/engines/served-name.ts";
import { spec } from "./spec.ts";

const wanted = (specs: ModelSpec[], path: string | null = null) => specs.map((each) => ({ spec: each, path }));

describe("what an engine calls a model", () => {
  const chat = spec("chat", { location: "org/chat" });
  const embed = spec("embed", { location: "org/embed" });

  const asked = spec("asked", { location: "org/asked" }, { runTime: true });

  test.each<[string, ModelSpec[], string | null, string[] | null, Record<string, string>]>([
    ["the repository", [chat], null, ["other", "org/chat"], { chat: "org/chat" }],
    ["the id in the catalog", [chat], null, ["other", "chat"], { chat: "chat" }],
    ["the folder on the volume", [chat], "/models/chat", ["other", "/models/chat/"], { chat: "/models/chat/" }],
    ["an alias, where there is one model and one name", [chat], null, ["default"], { chat: "default" }],
    ["not an alias of what was asked for at run time", [asked], null, ["default"], {}],
    ["an alias of the one beside that", [chat, asked], null, ["default"], { chat: "default" }],
    ["not an alias of two", [chat, embed], null, ["default"], {}],
    ["not another's name", [chat, embed], null, ["org/chat"], { chat: "org/chat" }],
    ["none of several", [chat], null, ["a", "b"], {}],
  ])("%s", (_what, specs, path, listed, expected) => {
    expect(Object.fromEntries(servedNames(wanted(specs, path), listed))).toEqual(expected);
  });
});

test("a model is found by its id or its name at its source, on the engine of its variant's kind", async () => {
  const engines = openEngines({
    config: {
      engineUrls: { ollama: "http://127.0.0.1:1", vllm: "http://user:secret@127.0.0.1:2/v1/", openai: null },
      engineKeys: { vllm: null, openai: null },
    },
    storedOf: () => Promise.reject(new Error("the volume is gone")),
  });
  expect(engines.all.map(({ kind, url }) => [kind, url])).toEqual([
    ["ollama", "http://127.0.0.1:1"],
    ["vllm", "http://127.0.0.1:2"],
  ]);
  expect(engines.find("small")).toBeNull();
  engines.serve([
    spec("small", { engine: "ollama", location: "llama3.2:3b" }, { context: 8192 }),
    spec("large", { engine: "vllm", location: "org/large" }),
    spec("other", { engine: "openai", location: "org/other" }),
  ]);
  expect(engines.find("small")).toMatchObject({
    engine: { kind: "ollama" },
    model: { id: "small", task: "chat", name: "llama3.2:3b", context: 8192 },
  });
  expect(engines.find("llama3.2:3b")?.model.id).toBe("small");
  expect(engines.find("other")).toBeNull();
  expect(engines.find("unknown")).toBeNull();
  const vllm = engines.all[1]!;
  await engines.learn(vllm, ["large"]);
  expect(engines.find("org/large")?.model.name).toBe("large");
  await engines.learn(vllm, ["x", "y"]);
  expect(engines.find("large")).toBeNull();
  expect(engines.of(vllm)).toMatchObject([{ spec: { id: "large" }, model: null }]);
});
