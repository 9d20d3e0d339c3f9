import * as z from "zod";
import { MusterError } from "../../../errors.ts";
import { digestOf } from "./secret.ts";

/** What a key may do; null: no bound. */
export interface KeyLimits {
  requestsPerMinute: number | null;
  /** Jobs at workers at once; more wait in the queue. */
  concurrent: number | null;
  /** Jobs that wait; more are refused. */
  queued: number | null;
  /** Tokens of prompts and answers in a day of UTC. */
  tokensPerDay: number | null;
  /** Names of models; null: all. */
  models: string[] | null;
  /** The highest priority of its jobs. */
  priority: number;
}

export interface ClientKey {
  name: string;
  /** SHA-256 of the key: the key itself is kept nowhere. */
  digest: Buffer;
  limits: KeyLimits;
}

export const NO_LIMITS: KeyLimits = {
  ...{ requestsPerMinute: null, concurrent: null, queued: null, tokensPerDay: null, models: null, priority: 0 },
};

const limit = z.int().positive().nullable().default(null);
const clientKey = z
  .strictObject({
    name: z.string().regex(/^[\w.@-]{1,64}$/, "allowed: 1 to 64 letters, digits, dots, dashes, underscores, @"),
    key: z.string().min(16, "allowed: 16 characters or more").optional(),
    sha256: z
      .string()
      .regex(/^[0-9a-fA-F]{64}$/, "allowed: 64 hexadecimal digits")
      .optional(),
    requestsPerMinute: limit,
    concurrent: limit,
    queued: limit,
    tokensPerDay: limit,
    models: z.array(z.string().min(1)).nullable().default(null),
    priority: z.int().min(-100).max(100).default(0),
  })
  .refine(({ key, sha256 }) => (key === undefined) !== (sha256 === undefined), "give key or sha256, one of the two");
const keyFile = z.array(clientKey);

/**
 * The keys of a file: a JSON list of `{ name, sha256 or key, … }` with limits, or a line `name key-or-sha256` each, where `#`
 * begins a comment. Throws CONFIG_INVALID, without any key in the message.
 */
export function parseClientKeys(text: string, file: string): ClientKey[] {
  const parsed = keyFile.safeParse(text.trimStart().startsWith("[") ? jsonOf(text) : linesOf(text));
  const problem = parsed.success ? sameName(parsed.data) : problemOf(parsed.error);
  if (!parsed.success || problem) {
    throw new MusterError("CONFIG_INVALID", `CLIENT_KEYS_FILE ${file}: ${problem}.`, {
      hint: `Correct the file; a key is made by \`openssl rand -hex 32\`, its digest by \`printf %s KEY | sha256sum\`.`,
    });
  }
  return parsed.data.map(({ name, key, sha256, ...limits }) => ({
    name,
    digest: sha256 === undefined ? digestOf(key ?? "") : Buffer.from(sha256, "hex"),
    limits,
  }));
}

function linesOf(text: string): unknown[] {
  const lines = text.split("\n").map((line) => line.replace(/#.*/, "").trim());
  return lines.filter(Boolean).map((line) => {
    const [name, secret = "", ...more] = line.split(/\s+/);
    const form = /^[0-9a-fA-F]{64}$/.test(secret) ? "sha256" : "key";
    return { name, [form]: more.length > 0 ? undefined : secret };
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function problemOf({ issues: [issue] }: z.ZodError): string {
  const [index, ...rest] = issue?.path ?? [];
  if (index === undefined) return "the file is not JSON";
  const where = `entry ${Number(index) + 1}${rest.length > 0 ? `, ${rest.join(".")}` : ""}`;
  return `${where}: ${issue?.message ?? "not valid"}`;
}

function sameName(keys: readonly { name: string }[]): string | null {
  const twice = keys.find(({ name }, index) => keys.findIndex((other) => other.name === name) !== index);
  return twice ? `two keys are named ${twice.name}` : null;
}
