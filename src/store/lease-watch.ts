import * as z from "zod";
import { isProcessGone, processIdentity } from "../process-identity.ts";

const leaseContent = z.object({
  token: z.string(),
  holder: z.object({
    host: z.string(),
    what: z.string(),
    /** RFC 3339, by the holder's clock; for people only. */
    since: z.string(),
  }),
  process: processIdentity,
  beat: z.number(),
  released: z.boolean(),
});
export type LeaseContent = z.output<typeof leaseContent>;
export type LeaseHolder = LeaseContent["holder"];

export interface WatchOptions {
  /** Between two looks. */
  pollMs?: number;
  /** A lease that stood unchanged for so long is nobody's. */
  expiryMs?: number;
}

/** Tells from the text of a lease's file, looked at again and again, whether its holder is still there. */
export class LeaseWatch {
  readonly pollMs: number;
  readonly #expiryMs: number;
  #seen: string | null = null;
  #unchangedMs = 0;
  #lookedAt = performance.now();

  constructor({ pollMs = 250, expiryMs = 15_000 }: WatchOptions) {
    this.pollMs = pollMs;
    this.#expiryMs = expiryMs;
  }

  /** `text`: null where there is no file. */
  async look(text: string | null): Promise<{ isFree: boolean; content: LeaseContent | null }> {
    // Of the time since the last look only so much counts: a waiter that was itself frozen has not been watching.
    const sinceLook = Math.min(performance.now() - this.#lookedAt, this.pollMs * 4);
    this.#lookedAt = performance.now();
    this.#unchangedMs = text === this.#seen ? this.#unchangedMs + sinceLook : 0;
    this.#seen = text;
    if (text === null) return { isFree: true, content: null };
    const content = parse(text);
    const isOver = content !== null && (content.released || (await isProcessGone(content.process)));
    return { isFree: isOver || this.#unchangedMs > this.#expiryMs, content };
  }
}

function parse(text: string): LeaseContent | null {
  try {
    return leaseContent.parse(JSON.parse(text));
  } catch {
    return null;
  }
}
