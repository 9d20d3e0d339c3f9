import * as z from "zod";
import type { ChatBody, ChatMessage, ContentPart } from "../engines/engine.ts";
import { checkRefused, readBody } from "./body.ts";
import { check, invalidInput } from "./check.ts";
import { toCheckedUri } from "./image.ts";

const fields = z.looseObject({
  messages: z.array(z.unknown()).min(1, "must hold at least one message"),
  tools: z.array(z.unknown()).nullish(),
  response_format: z.looseObject({ type: z.string() }).nullish(),
});

const message = z.looseObject({
  role: z.string().min(1),
  content: z.union([z.string(), z.array(z.unknown()), z.null()], "must be a text, a list of parts, or null").optional(),
});

/**
 * The parts that are let through, each with these fields and no others: an engine that finds another field in a part
 * may take it for an address to fetch.
 */
const part = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text"), text: z.string() }),
  z.object({ type: z.literal("refusal"), refusal: z.string() }),
  z.object({ type: z.literal("image_url"), image_url: z.object({ url: z.string(), detail: z.string().optional() }) }),
]);

/** An OpenAI chat-completions request, or INVALID_INPUT; images over the bound are PAYLOAD_TOO_LARGE. */
export function readChat(input: unknown, maxImageBytes: number): ChatBody {
  const { messages, ...body } = check(fields, readBody(input, ["prompt"]));
  // One by one, so that the first wrong one is the end of it.
  return { ...body, messages: messages.map((each, index) => readMessage(each, `messages.${index}`, maxImageBytes)) };
}

/** Whether images have to be looked at to answer. */
export function hasImages({ messages }: ChatBody): boolean {
  return messages.some(({ content }) => Array.isArray(content) && content.some(({ type }) => type === "image_url"));
}

function readMessage(value: unknown, at: string, maxImageBytes: number): ChatMessage {
  const { content, ...rest } = check(message, value, at);
  checkRefused(rest, { at: `${at}.` });
  if (!Array.isArray(content)) return { ...rest, ...(content === undefined ? {} : { content }) };
  if (content.length === 0) throw invalidInput(`${at}.content`, "must not be empty");
  return { ...rest, content: content.map((each, index) => readPart(each, `${at}.content.${index}`, maxImageBytes)) };
}

function readPart(value: unknown, at: string, maxImageBytes: number): ContentPart {
  const found = check(part, value, at);
  if (found.type !== "image_url") return found;
  const url = toCheckedUri(found.image_url.url, { field: `${at}.image_url.url`, maxBytes: maxImageBytes });
  return { ...found, image_url: { ...found.image_url, url } };
}
