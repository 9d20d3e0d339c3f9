import { dayOf, type JobStore } from "../../stores/job-store.ts";
import { refusal } from "../refusal.ts";
import type { Caller } from "./access.ts";
import { TokenBuckets } from "./token-buckets.ts";

/** How often, and for how much, keys may ask. What they have running and waiting is bounded with the jobs. */
export class Limits {
  readonly #store: Pick<JobStore, "tokensOf">;
  readonly #requests = new TokenBuckets();

  constructor(store: Pick<JobStore, "tokensOf">) {
    this.#store = store;
  }

  /** Before each job. Throws RATE_LIMITED and QUOTA_EXCEEDED, which say when it will be taken again. */
  async admit({ name, limits }: Caller): Promise<void> {
    if (name === null) return;
    const { requestsPerMinute, tokensPerDay } = limits;
    const retryAfterMs = requestsPerMinute === null ? 0 : this.#requests.take(name, requestsPerMinute);
    if (retryAfterMs > 0) {
      const message = `This key may make ${requestsPerMinute} requests a minute.`;
      throw refusal("RATE_LIMITED", message, "Wait a little.", { retryAfterMs });
    }
    const now = Date.now();
    if (tokensPerDay === null || (await this.#store.tokensOf(name, dayOf(now))) < tokensPerDay) return;
    const midnight = new Date(now).setUTCHours(24, 0, 0, 0);
    throw refusal(
      "QUOTA_EXCEEDED",
      `This key has used its ${tokensPerDay} tokens of today.`,
      "Wait until midnight UTC.",
      {
        retryAfterMs: midnight - now,
      },
    );
  }

  sweep(): void {
    this.#requests.sweep();
  }
}
