import * as z from "zod";
import type { Task } from "../model.ts";

/** What a source says of a model beside its files. Nobody vouches for it but the publisher. */
export interface ModelCard {
  /** An id as the hub or SPDX has it, in lower case, several with AND between them; null where nothing is said. */
  license: string | null;
  /** Access has to be asked for. */
  gated: boolean;
  task: Task | null;
  quantization: string | null;
}

/** The parts of a card that are written by people: metadata of a hub, or the head of a README.md. */
export const cardSchema = z
  .object({
    license: z.union([z.string(), z.array(z.string())]).nullish(),
    license_name: z.string().nullish(),
    pipeline_tag: z.string().nullish(),
  })
  .catch({});

/** Longer ones are no ids. */
const LONGEST_ID = 100;

/** The licence's id: `other` stands for the name that is given with it. */
export function licenseOf({ license, license_name }: z.output<typeof cardSchema>): string | null {
  const ids = [license ?? []].flat().map((id) => (id === "other" && license_name ? license_name : id));
  const plain = ids.map((id) => id.trim().toLowerCase()).filter((id) => id !== "" && id.length <= LONGEST_ID);
  return plain.length === 0 ? null : [...new Set(plain)].join(" AND ");
}

const TASKS_BY_PIPELINE: Record<string, Task> = {
  "text-generation": "chat",
  conversational: "chat",
  "text2text-generation": "completion",
  "fill-mask": "embedding",
  "feature-extraction": "embedding",
  "sentence-similarity": "embedding",
  "text-ranking": "rerank",
  "image-text-to-text": "vision",
  "visual-question-answering": "vision",
  "any-to-any": "vision",
  "image-to-text": "ocr",
};

/** The kind of work that a hub's pipeline stands for. */
export function taskOf(pipeline: string | null | undefined): Task | null {
  return TASKS_BY_PIPELINE[pipeline ?? ""] ?? null;
}

const configSchema = z
  .object({
    quantization_config: z.object({ quant_method: z.string().nullish() }).nullish().catch(null),
    architectures: z.array(z.string()).nullish().catch(null),
  })
  .catch({});

/** What the text of a config.json says beside the model's shape. */
export function readConfigCard(text: string | null): Pick<ModelCard, "quantization" | "task"> {
  const { quantization_config, architectures } = configSchema.parse(parseJson(text ?? ""));
  return { quantization: quantization_config?.quant_method ?? null, task: taskOfClass(architectures?.[0] ?? "") };
}

/** By the name of the class that loads it. */
function taskOfClass(name: string): Task | null {
  if (/(ForConditionalGeneration|ImageTextToText|Vision2Seq)$/.test(name)) return "vision";
  if (/(ForCausalLM|LMHeadModel)$/.test(name)) return "chat";
  if (/ForSequenceClassification$/.test(name)) return "rerank";
  return /(Model|ForMaskedLM)$/.test(name) ? "embedding" : null;
}

/** The card in the head of a README.md (YAML between two lines of dashes), as far as it is of use. */
export function readReadme(text: string | null): Pick<ModelCard, "license" | "task"> {
  const [, head = ""] = /^\uFEFF?---\r?\n([\s\S]*?)\r?\n---\s*(?:\r?\n|$)/.exec(text ?? "") ?? [];
  const fields = Object.fromEntries(
    ["license", "license_name", "pipeline_tag"].map((name) => [name, yamlField(head, name)]),
  );
  const card = cardSchema.parse(fields);
  return { license: licenseOf(card), task: taskOf(card.pipeline_tag) };
}

/** A scalar, or a list of scalars, at the top of a YAML mapping. */
function yamlField(yaml: string, name: string): string | string[] | null {
  const [, rest = "", below = ""] =
    new RegExp(`^${name}:[ \\t]*(.*)$((?:\\r?\\n[ \\t]*-[ \\t].*)*)`, "m").exec(yaml) ?? [];
  const value = scalar(rest);
  if (value.startsWith("["))
    return value
      .replace(/^\[|\]$/g, "")
      .split(",")
      .map(scalar);
  if (value !== "") return value;
  const items = below.split(/\r?\n/).map((line) => scalar(line.replace(/^[ \t]*-[ \t]/, "")));
  return items.some(Boolean) ? items.filter(Boolean) : null;
}

function scalar(text: string): string {
  const [, , quoted] = /^\s*(["'])(.*?)\1/.exec(text) ?? [];
  return quoted ?? text.replace(/(^|\s)#.*$/, "").trim();
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
