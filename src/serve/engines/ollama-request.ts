import { jobError } from "../../job.ts";
import type { ChatBody, ChatMessage, CompletionBody, ContentPart, EngineModel } from "./engine.ts";
import { KEEP_ALIVE } from "./ollama-environment.ts";

/** OpenAI's requests as Ollama's API takes them. Pure. */

export interface OllamaMessage {
  role: string;
  content: string;
  thinking?: string;
  /** Bytes, never text: the client takes texts for names of files. */
  images?: Uint8Array[];
  tool_calls?: { id?: string; function: { name: string; arguments: Record<string, unknown> } }[];
  tool_name?: string;
  tool_call_id?: string;
}

export function chatRequest(model: EngineModel, body: ChatBody) {
  const { tools, response_format } = body;
  const kept = chosenTools(tools, body.tool_choice);
  if (body.messages.length === 0) throw invalid("`messages` is empty");
  return {
    ...common(model, body),
    messages: toMessages(body.messages),
    ...(kept ? { tools: kept } : {}),
    ...(response_format ? { format: toFormat(response_format) } : {}),
    ...(body.logprobs === true ? { logprobs: true, top_logprobs: body.top_logprobs as number | undefined } : {}),
  };
}

export function generateRequest(model: EngineModel, body: CompletionBody, prompt: string) {
  return {
    ...common(model, body),
    prompt,
    ...(typeof body.suffix === "string" ? { suffix: body.suffix } : {}),
  };
}

/** The texts of an input; Ollama takes no tokens. */
export function textsOf(input: string | string[] | number[] | number[][], field: string): string[] {
  const all: (string | number | number[])[] = typeof input === "string" ? [input] : input;
  return all.map((each) => {
    if (typeof each === "string") return each;
    throw jobError(
      "UNSUPPORTED",
      `\`${field}\` holds tokens, and Ollama takes texts only.`,
      "Send texts, or send the job to a model on another engine; `muster plan` shows them.",
    );
  });
}

/** What loads the model as jobs will use it: other options would load it anew. */
export function loadOptions({ context }: EngineModel): { num_ctx?: number } {
  return context === null ? {} : { num_ctx: context };
}

function common(model: EngineModel, body: ChatBody | CompletionBody) {
  if (typeof body.n === "number" && body.n > 1) {
    throw jobError(
      "UNSUPPORTED",
      "`n` is more than 1, and Ollama gives one answer a request.",
      "Send as many jobs as answers are wanted.",
    );
  }
  return {
    model: model.name,
    stream: true as const,
    keep_alive: KEEP_ALIVE,
    think: thinkOf(body),
    // A prompt that does not fit is an error, as on other engines, and an answer ends where the context does.
    truncate: body.truncate === true,
    shift: false,
    options: { ...loadOptions(model), ...sampling(body) },
  };
}

/** OpenAI's names on the left; Ollama's own are taken as they are. */
const OPTIONS: Record<string, string> = {
  max_tokens: "num_predict",
  max_completion_tokens: "num_predict",
  temperature: "temperature",
  top_p: "top_p",
  top_k: "top_k",
  min_p: "min_p",
  seed: "seed",
  stop: "stop",
  frequency_penalty: "frequency_penalty",
  presence_penalty: "presence_penalty",
  repetition_penalty: "repeat_penalty",
};

function sampling(body: ChatBody | CompletionBody): Record<string, unknown> {
  const given = Object.entries(OPTIONS).flatMap(([theirs, ours]) => {
    const value = body[theirs];
    if (value === undefined || value === null) return [];
    return [[ours, theirs === "stop" && typeof value === "string" ? [value] : value]];
  });
  return Object.fromEntries(given);
}

type Think = boolean | "low" | "medium" | "high";

/** Models that can think do so unless they are told not to. */
function thinkOf({ think, reasoning_effort }: ChatBody | CompletionBody): Think {
  const wanted = think ?? reasoning_effort;
  if (typeof wanted === "boolean") return wanted;
  if (wanted === "minimal") return "low";
  if (wanted === "xhigh") return "high";
  return typeof wanted === "string" && wanted !== "none" ? (wanted as Think) : false;
}

function toFormat(format: unknown): string | object | undefined {
  const { type, json_schema } = format as { type?: unknown; json_schema?: { schema?: unknown } };
  if (type === "text") return undefined;
  if (type === "json_object") return "json";
  const schema = json_schema?.schema;
  if (type === "json_schema" && typeof schema === "object" && schema !== null) return schema;
  throw invalid("`response_format` is none of text, json_object, and json_schema with its `json_schema.schema`");
}

interface Tool {
  type: string;
  function: { name?: string };
}

function chosenTools(tools: unknown, choice: unknown): Tool[] | null {
  if (!Array.isArray(tools) || tools.length === 0 || choice === "none") return null;
  const named = (choice as { function?: { name?: unknown } } | undefined)?.function?.name;
  if (named === undefined) return tools as Tool[];
  const found = (tools as Tool[]).filter((tool) => tool.function?.name === named);
  if (found.length === 0) throw invalid("`tool_choice` names a function that is not among `tools`");
  return found;
}

function toMessages(messages: ChatMessage[]): OllamaMessage[] {
  /** Answers of tools name the call, and Ollama wants the function's name. */
  const toolNames = new Map<unknown, string>();
  return messages.map((message): OllamaMessage => {
    const calls = Array.isArray(message.tool_calls) ? message.tool_calls.map(toToolCall) : [];
    for (const { id, function: called } of calls) toolNames.set(id, called.name);
    const thinking = message.reasoning_content ?? message.reasoning;
    const toolName = message.name ?? toolNames.get(message.tool_call_id);
    const isTool = message.role === "tool";
    return {
      role: message.role === "developer" ? "system" : message.role,
      ...toContent(message.content ?? ""),
      ...(typeof thinking === "string" ? { thinking } : {}),
      ...(calls.length > 0 ? { tool_calls: calls } : {}),
      ...(isTool && typeof toolName === "string" ? { tool_name: toolName } : {}),
      ...(isTool && typeof message.tool_call_id === "string" ? { tool_call_id: message.tool_call_id } : {}),
    };
  });
}

function toContent(content: string | ContentPart[]): { content: string; images?: Uint8Array[] } {
  if (typeof content === "string") return { content };
  const texts: string[] = [];
  const images: Uint8Array[] = [];
  for (const part of content) {
    if (part.type === "text" && typeof part.text === "string") texts.push(part.text);
    else if (part.type === "image_url") images.push(imageBytes(part.image_url));
    else {
      throw jobError(
        "UNSUPPORTED",
        "A message has a part that is neither text nor image_url.",
        "Send texts and images; Ollama takes nothing else.",
      );
    }
  }
  return { content: texts.join("\n"), ...(images.length > 0 ? { images } : {}) };
}

function imageBytes(image: unknown): Uint8Array {
  const { url } = image as { url?: unknown };
  const [, base64] = (typeof url === "string" && /^data:[^,]*;base64,(.+)$/s.exec(url)) || [];
  if (base64 === undefined) throw invalid("`image_url.url` is no data: URI in base64");
  return Buffer.from(base64, "base64");
}

function toToolCall(call: unknown): NonNullable<OllamaMessage["tool_calls"]>[number] & { id?: string } {
  const { id, function: called } = call as { id?: unknown; function?: { name?: unknown; arguments?: unknown } };
  if (typeof called?.name !== "string") throw invalid("`tool_calls` has one without a function's name");
  return {
    ...(typeof id === "string" ? { id } : {}),
    function: { name: called.name, arguments: toArguments(called.arguments) },
  };
}

function toArguments(given: unknown): Record<string, unknown> {
  try {
    const parsed: unknown = typeof given === "string" ? JSON.parse(given || "{}") : (given ?? {});
    if (typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)) {
      return parsed as Record<string, unknown>;
    }
  } catch {
    // Told below: the parser's own words would quote what it read.
  }
  throw invalid("`tool_calls` has one whose `arguments` are no JSON object");
}

function invalid(what: string) {
  return jobError("INVALID_INPUT", `${what}.`, "Correct the request as the OpenAI API has it.");
}
