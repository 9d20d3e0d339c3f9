import * as z from "zod";
import type { ErrorCode } from "../errors.ts";
import { jobError, toJobFailure } from "../job.ts";
import { abortable } from "./abortable.ts";
import type { ChatBody, Engine, EngineAnswer, EngineCall, EngineModel } from "./engines/engine.ts";
import type { OcrInput } from "./kinds/ocr.ts";
import { pageChat, repairChat } from "./ocr-prompts.ts";
import { type PageCheck, pageCheck } from "./page-schema.ts";

/** What became of a page; streamed as it is done. */
export interface OcrPage {
  /** Counted from 1. */
  page: number;
  text?: string;
  /** Instead of text, with format json. */
  data?: unknown;
  /** The answer ended at the model's bound of tokens. */
  truncated?: true;
  error?: { code: ErrorCode; message: string };
}

const chatAnswer = z.object({
  choices: z
    .array(z.object({ message: z.object({ content: z.string() }), finish_reason: z.string().nullish() }))
    .min(1),
});

/**
 * Reads the pages by a chat each, one after another: a job has one slot. A page that fails leaves the others be; where
 * all fail, the first one's error is thrown. The answer is {text, pages}, in which JSON is a line a page of the text.
 */
export async function readPages(
  { pages, ...wanted }: OcrInput,
  { engine, model, call }: { engine: Engine; model: EngineModel; call: EngineCall },
): Promise<EngineAnswer> {
  const done: OcrPage[] = [];
  const usage: Record<string, number> = {};
  const texts: string[] = [];
  let left = call.maxOutputBytes;
  let firstError: unknown = null;

  const ask = async (body: ChatBody) => {
    const answer = await engine.run("chat", model, body, { ...call, onChunk: null, maxOutputBytes: left });
    for (const [name, count] of Object.entries(answer.usage)) usage[name] = (usage[name] ?? 0) + count;
    const { message, finish_reason } = readAnswer(answer);
    return { text: message.content, truncated: finish_reason === "length" };
  };
  const check = wanted.schema ? await pageCheck(wanted.schema) : null;
  const read = async (page: string): Promise<Omit<OcrPage, "page">> => {
    const chat = pageChat(wanted, page, model.prompts);
    const first = await ask(chat);
    if (wanted.format !== "json") {
      keep(first.text);
      return first.truncated ? { text: first.text, truncated: true } : { text: first.text };
    }
    const before = judge(first.text, check);
    const again = before.fault === null ? first : await ask(repairChat(chat, first.text, before.problem));
    const { fault, value } = before.fault === null ? before : judge(again.text, check);
    if (fault !== null) throw notAsWanted(fault === "no JSON" && again.truncated ? "truncated" : fault);
    keep(JSON.stringify(value));
    return again.truncated ? { data: value, truncated: true } : { data: value };
  };
  const keep = (text: string) => {
    texts.push(text);
    left -= Buffer.byteLength(text);
  };

  for (const [index, page] of pages.entries()) {
    call.signal.throwIfAborted();
    const result = await read(page).catch((error: unknown) => {
      call.signal.throwIfAborted();
      firstError ??= error;
      const { code, message } = toJobFailure(error);
      return { error: { code, message } };
    });
    const piece = { page: index + 1, ...result };
    done.push(piece);
    await abortable(call.onChunk?.(piece), call.signal);
  }
  if (texts.length === 0) throw firstError;
  return { output: { text: texts.join(wanted.format === "json" ? "\n" : "\n\n"), pages: done, usage }, usage };
}

function readAnswer({ output }: EngineAnswer): z.output<typeof chatAnswer>["choices"][number] {
  const [choice] = chatAnswer.safeParse(output).data?.choices ?? [];
  if (choice) return choice;
  throw jobError("INTERNAL", "The engine's answer has no text.", "Look at the engine's log.");
}

type Fault = "no JSON" | "not as the schema has it";
type Judged = { fault: null; value: unknown; problem: null } | { fault: Fault; value?: never; problem: string | null };

/** The JSON of an answer, or what is wrong with it; `problem` says more for the model. */
function judge(text: string, check: PageCheck | null): Judged {
  const json = parseJson(text);
  if (!json) return { fault: "no JSON", problem: null };
  const problem = check?.(json.value) ?? null;
  return problem === null
    ? { fault: null, value: json.value, problem }
    : { fault: "not as the schema has it", problem };
}

/** Wrapped, because null is JSON too. Models like to put a fence around it. */
function parseJson(text: string): { value: unknown } | null {
  const trimmed = text.trim();
  const fenced = trimmed.startsWith("```") && trimmed.endsWith("```");
  const bare = fenced ? trimmed.slice(trimmed.indexOf("\n"), -3) : trimmed;
  try {
    return { value: JSON.parse(bare) };
  } catch {
    return null;
  }
}

const FAULTS: Record<Fault | "truncated", string> = {
  truncated: "The answer ended at the model's bound of tokens, in the middle of the JSON.",
  "no JSON": "The answer is not JSON.",
  "not as the schema has it": "The answer is JSON, and not as the schema has it.",
};

/** Without saying what is wrong: that would quote the page. */
function notAsWanted(fault: Fault | "truncated") {
  return jobError(
    "INTERNAL",
    FAULTS[fault],
    "Ask for less of the page, give a simpler schema, or take a larger model.",
  );
}
