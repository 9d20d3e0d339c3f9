import type { OcrPrompts } from "../model.ts";
import type { ChatBody } from "./engines/engine.ts";
import type { OcrInput } from "./kinds/ocr.ts";

/** What a vision model is told to do with a page. */
const PROMPTS: OcrPrompts = {
  text: "Read all text on this page, in reading order, and repeat it exactly as plain text, in its own language. Leave nothing out and add nothing: no remarks, no markup.",
  markdown:
    "Transcribe this page exactly as Markdown, in its own language and reading order: headings, lists, tables as Markdown tables, formulas as LaTeX. Leave nothing out and add no remarks and no fence around it.",
  json: "Extract what this page holds.",
};

/** The chat that reads one page. A prompt of the job's own takes the place of the model's, and that the place of ours. */
export function pageChat(
  { prompt, format, schema }: Omit<OcrInput, "pages">,
  page: string,
  ofModel: OcrPrompts = {},
): ChatBody {
  const text = [prompt ?? ofModel[format] ?? PROMPTS[format], ...(format === "json" ? [jsonRule(schema)] : [])].join(
    "\n",
  );
  return {
    // The image first: models were trained so.
    messages: [
      {
        role: "user",
        content: [
          { type: "image_url", image_url: { url: page } },
          { type: "text", text },
        ],
      },
    ],
    temperature: 0,
    ...(format === "json" ? { response_format: responseFormat(schema) } : {}),
  };
}

/** The same chat, with an answer that was not as wanted, what is wrong with it, and the wish for a better one. */
export function repairChat(chat: ChatBody, answer: string, problem: string | null): ChatBody {
  const wish =
    problem === null
      ? "That is not valid JSON. Give the same again as valid JSON: the JSON alone, whole, without a fence."
      : `That is not as the JSON Schema has it: ${problem}. Give the same again as it has to be: the JSON alone, whole, without a fence.`;
  return {
    ...chat,
    messages: [...chat.messages, { role: "assistant", content: answer }, { role: "user", content: wish }],
  };
}

function jsonRule(schema: OcrInput["schema"]): string {
  const rule = "Answer with JSON alone, without remarks and without a fence";
  return schema ? `${rule}, in the form of this JSON Schema:\n${JSON.stringify(schema)}` : `${rule}.`;
}

function responseFormat(schema: OcrInput["schema"]): Record<string, unknown> {
  return schema
    ? { type: "json_schema", json_schema: { name: "page", schema, strict: true } }
    : { type: "json_object" };
}
