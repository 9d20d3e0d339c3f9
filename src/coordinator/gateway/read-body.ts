import type * as z from "zod";
import { MAX_INPUT_DEPTH } from "../../protocol.ts";
import type { Call } from "./answer.ts";
import { refusal } from "./refusal.ts";

/** The body of a request as the schema has it. Throws PAYLOAD_TOO_LARGE, or INVALID_INPUT for the first thing that is wrong. */
export async function readJson<T>({ request, gateway }: Call, schema: z.ZodType<T>): Promise<T> {
  const parsed = schema.safeParse(jsonOf(await readText(request, gateway.maxBody)));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue?.path.join(".");
  const what = issue?.message.replace(/^Invalid input: /, "") ?? "not valid";
  throw refusal("INVALID_INPUT", where ? `${where}: ${what}` : `The body is not what is taken here: ${what}`, FIX);
}

const FIX = "Correct the request: GET /openapi.json tells what is taken.";

async function readText(request: Call["request"], maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= maxBytes) chunks.push(chunk);
    // Read to its end and thrown away, so that the sender gets to see the answer.
    else chunks.length = 0;
  }
  if (bytes > maxBytes)
    throw refusal(
      "PAYLOAD_TOO_LARGE",
      `A request may have ${maxBytes} bytes.`,
      "Send less at once, in several requests.",
    );
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw refusal("INVALID_INPUT", "The body is not UTF-8.", FIX);
  }
}

function jsonOf(text: string): unknown {
  const body = parse(text);
  if (isDeeperThan(MAX_INPUT_DEPTH, body))
    throw refusal("INVALID_INPUT", `The body is nested deeper than ${MAX_INPUT_DEPTH} levels.`, FIX);
  return body;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw refusal("INVALID_INPUT", "The body is not JSON.", FIX);
  }
}

function isDeeperThan(levels: number, value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const items: unknown[] = Array.isArray(value) ? value : Object.values(value);
  return levels === 0 || items.some((item) => isDeeperThan(levels - 1, item));
}
