import { describe, expect, it } from "vitest";
import { cardSchema, licenseOf, readConfigCard, readReadme, taskOf } from "../../src/fetch/model-card.ts";

describe("the head of a README.md", () => {
  const read = (head: string) => readReadme(`---\n${head}\n---\n# Model\n\nlicense: not-this-one\n`);
  it.each([
    ["license: mit", "mit"],
    ["license: 'Apache-2.0' # of the weights", "apache-2.0"],
    ['language:\n- en\nlicense: "gemma"\ntags: [a]', "gemma"],
    ["license: other\nlicense_name: acme-research\nlicense_link: LICENSE", "acme-research"],
    ["license: other", "other"],
    ["license:\n- mit\n- apache-2.0", "mit AND apache-2.0"],
    ["license:\n  - mit", "mit"],
    ["license: [mit, 'cc-by-4.0']", "mit AND cc-by-4.0"],
    ["license:", null],
    ["base_license: mit", null],
    ["", null],
  ])("%j says %s", (head, license) => {
    expect(read(head).license).toBe(license);
    expect(readReadme(`---\r\n${head.replaceAll("\n", "\r\n")}\r\n---\r\ntext`).license).toBe(license);
  });

  it("is nothing where there is none", () => {
    for (const text of [null, "", "# Model\nlicense: mit", "---\nlicense: mit\n", "----\n"])
      expect(readReadme(text)).toEqual({ license: null, task: null });
  });

  it("says what the model is for", () => {
    expect(read("pipeline_tag: sentence-similarity").task).toBe("embedding");
    expect(taskOf("automatic-speech-recognition")).toBeNull();
  });
});

it("a hub's metadata may be anything", () => {
  for (const [data, license] of [
    [{ license: ["mit", "MIT"] }, "mit"],
    [{ license: 7 }, null],
    [{ license: "x".repeat(200) }, null],
    ["text", null],
    [{ license: " " }, null],
  ])
    expect(licenseOf(cardSchema.parse(data))).toBe(license);
});

it("a config.json tells how weights are quantized, and by its class what it is for", () => {
  const config = (value: object) => readConfigCard(JSON.stringify(value));
  expect(config({ quantization_config: { quant_method: "awq" }, architectures: ["LlamaForCausalLM"] })).toEqual({
    ...{ quantization: "awq", task: "chat" },
  });
  expect(config({ architectures: ["BertModel"] }).task).toBe("embedding");
  expect(config({ architectures: ["XLMRobertaForSequenceClassification"] }).task).toBe("rerank");
  expect(config({ architectures: ["Qwen2_5_VLForConditionalGeneration"] }).task).toBe("vision");
  expect(config({ quantization_config: 7, architectures: "x" })).toEqual({ quantization: null, task: null });
  expect(readConfigCard("no json")).toEqual({ quantization: null, task: null });
});
