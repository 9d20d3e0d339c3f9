import * as z from "zod";
import type { ChatBody, CompletionBody, EngineAnswer, EngineCall, EngineModel } from "./engine.ts";
import { answerTooLarge } from "./lines.ts";

/** Answers that come in chunks of the OpenAI form, whichever engine gives them: passed on, bounded, and put together. */

const toolCallDelta = z.looseObject({
  index: z.number().nullish(),
  id: z.string().nullish(),
  function: z.looseObject({ name: z.string().nullish(), arguments: z.unknown() }).nullish(),
});
const choice = z.looseObject({
  index: z.number().default(0),
  delta: z.looseObject({ tool_calls: z.array(toolCallDelta).nullish() }).nullish(),
  text: z.string().nullish(),
  finish_reason: z.string().nullish(),
  logprobs: z.record(z.string(), z.unknown()).nullish(),
});
/** A chat.completion.chunk, or a text_completion as it is streamed. */
export const chunkSchema = z.looseObject({
  id: z.string().nullish(),
  created: z.number().nullish(),
  choices: z.array(choice).default([]),
  usage: z.record(z.string(), z.unknown()).nullish(),
});
export type Chunk = z.output<typeof chunkSchema>;
type ChunkChoice = Chunk["choices"][number];
type ToolCallDelta = z.output<typeof toolCallDelta>;

export interface DeliverOptions {
  kind: "chat" | "completion";
  model: EngineModel;
  call: EngineCall;
  /** Whether the one who asked wants a last chunk with the usage (`stream_options.include_usage`). */
  showUsage: boolean;
}

export function asksForUsage({ stream_options }: ChatBody | CompletionBody): boolean {
  return (stream_options as { include_usage?: unknown } | null | undefined)?.include_usage === true;
}

/**
 * Takes the chunks as fast as `onChunk` lets it, and gives the whole answer. Throws PAYLOAD_TOO_LARGE where there is too much, and the signal's reason where the sink keeps it waiting.
 */
export async function deliver(
  chunks: AsyncIterable<Chunk>,
  { kind, model, call, showUsage }: DeliverOptions,
): Promise<EngineAnswer> {
  const whole = new WholeAnswer(kind, model.id);
  for await (const chunk of chunks) {
    whole.add(chunk);
    if (whole.bytes > call.maxOutputBytes) throw answerTooLarge();
    const { usage, ...rest } = chunk;
    if (!call.onChunk || (chunk.choices.length === 0 && !showUsage)) continue;
    const pause = call.onChunk({ ...rest, model: model.id, ...(showUsage ? { usage: usage ?? null } : {}) });
    if (pause) await settled(pause, call.signal);
  }
  return whole.answer();
}

/** Waits, but not beyond the signal. */
async function settled(pause: Promise<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const give = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", give, { once: true });
  try {
    await Promise.race([pause, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", give);
  }
}

interface WholeChoice {
  /** Texts of the message by field: content, reasoning_content, refusal … */
  texts: Map<string, string>;
  role: string;
  toolCalls: Map<number, { id: string; name: string; arguments: string }>;
  /** Lists by field, as long as the answer. */
  logprobs: Map<string, unknown[]> | null;
  finishReason: string | null;
}

class WholeAnswer {
  /** UTF-8 bytes of all that is kept. */
  bytes = 0;
  readonly #kind: DeliverOptions["kind"];
  readonly #model: string;
  readonly #choices = new Map<number, WholeChoice>();
  #id: string | null | undefined;
  #created: number | null | undefined;
  #usage: Record<string, unknown> | null = null;

  constructor(kind: DeliverOptions["kind"], model: string) {
    this.#kind = kind;
    this.#model = model;
  }

  add({ id, created, choices, usage }: Chunk): void {
    this.#id ??= id;
    this.#created ??= created;
    this.#usage = usage ?? this.#usage;
    for (const part of choices) this.#addTo(this.#choice(part.index), part);
  }

  answer(): EngineAnswer {
    const isChat = this.#kind === "chat";
    const output: Record<string, unknown> = {
      id: this.#id ?? `${isChat ? "chatcmpl" : "cmpl"}-${crypto.randomUUID()}`,
      object: isChat ? "chat.completion" : "text_completion",
      created: this.#created ?? Math.floor(Date.now() / 1000),
      model: this.#model,
      choices: [...this.#choices]
        .toSorted(([a], [b]) => a - b)
        .map(([index, each]) => shownChoice(index, each, isChat)),
      ...(this.#usage ? { usage: this.#usage } : {}),
    };
    return { output, usage: numbersOf(this.#usage) };
  }

  #choice(index: number): WholeChoice {
    let found = this.#choices.get(index);
    if (!found) {
      found = { texts: new Map(), role: "assistant", toolCalls: new Map(), logprobs: null, finishReason: null };
      this.#choices.set(index, found);
    }
    return found;
  }

  #addTo(whole: WholeChoice, { delta, text, finish_reason, logprobs }: ChunkChoice): void {
    const { role, tool_calls, ...fields } = delta ?? {};
    if (typeof role === "string") whole.role = role;
    for (const [field, value] of Object.entries({ ...fields, text })) {
      if (typeof value !== "string") continue;
      whole.texts.set(field, (whole.texts.get(field) ?? "") + value);
      this.bytes += Buffer.byteLength(value);
    }
    for (const call of tool_calls ?? []) this.#addToolCall(whole.toolCalls, call);
    if (logprobs) this.#addLogprobs(whole, logprobs);
    whole.finishReason = finish_reason ?? whole.finishReason;
  }

  #addToolCall(calls: WholeChoice["toolCalls"], { index, id, function: called }: ToolCallDelta): void {
    // Without an index an id begins another call, and what has none goes on with the last.
    const at = index ?? (id || calls.size === 0 ? calls.size : calls.size - 1);
    const before = calls.get(at) ?? { id: "", name: "", arguments: "" };
    const given = called?.arguments ?? "";
    const piece = typeof given === "string" ? given : JSON.stringify(given);
    calls.set(at, {
      id: id || before.id,
      name: called?.name || before.name,
      arguments: before.arguments + piece,
    });
    this.bytes += Buffer.byteLength(piece) + Buffer.byteLength(called?.name ?? "");
  }

  #addLogprobs(whole: WholeChoice, logprobs: Record<string, unknown>): void {
    whole.logprobs ??= new Map();
    for (const [field, value] of Object.entries(logprobs)) {
      if (!Array.isArray(value)) continue;
      const list = whole.logprobs.get(field) ?? [];
      for (const each of value) list.push(each);
      whole.logprobs.set(field, list);
      this.bytes += Buffer.byteLength(JSON.stringify(value));
    }
  }
}

function shownChoice(index: number, whole: WholeChoice, isChat: boolean): Record<string, unknown> {
  const { texts, role, toolCalls, finishReason } = whole;
  const logprobs = whole.logprobs && Object.fromEntries(whole.logprobs);
  if (!isChat) return { index, text: texts.get("text") ?? "", logprobs, finish_reason: finishReason };
  const calls = [...toolCalls].toSorted(([a], [b]) => a - b);
  const message = {
    role,
    // A turn of tool calls has no content.
    ...Object.fromEntries(texts),
    content: texts.get("content") || (calls.length > 0 ? null : ""),
    ...(calls.length > 0 ? { tool_calls: calls.map(([, call]) => shownCall(call)) } : {}),
  };
  return { index, message, logprobs, finish_reason: finishReason };
}

function shownCall({ id, name, arguments: given }: { id: string; name: string; arguments: string }) {
  return { id: id || `call_${crypto.randomUUID()}`, type: "function", function: { name, arguments: given } };
}

function numbersOf(usage: Record<string, unknown> | null): Record<string, number> {
  const entries = Object.entries(usage ?? {});
  return Object.fromEntries(entries.filter((entry): entry is [string, number] => typeof entry[1] === "number"));
}
