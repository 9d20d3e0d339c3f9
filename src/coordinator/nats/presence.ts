import type { Logger } from "../../log.ts";
import { JOB_KINDS } from "../../model.ts";
import type { CountByKind } from "../jobs/jobs.ts";
import type { Layout } from "./layout.ts";
import type { NatsLink } from "./link.ts";
import { watchBucket } from "./watch-bucket.ts";

export interface PresenceOptions {
  link: NatsLink;
  layout: Layout;
  /** Id of this gateway. */
  gateway: string;
  beatMs: number;
  leaseMs: number;
  graceMs: number;
  log: Logger;
  /** How many jobs are at workers of this gateway. */
  held: () => CountByKind;
  /** A gateway has ended, or has not been heard of for lease and grace. */
  onGone: (gateway: string) => void;
}

/**
 * Which gateways live. Each writes that it does; all measure by their own clocks when they heard of it last. Leases of
 * workers end before those of their gateway: one that cannot write any more renews them for the grace only, and others
 * take its jobs after lease and grace. So no clocks are compared, and no job is at two workers while gateways cannot
 * hear of each other.
 */
export class Presence {
  readonly #options: PresenceOptions;
  readonly #heard = new Map<string, number>();
  readonly #gone = new Set<string>();
  /** Jobs at workers of other gateways. */
  readonly #held = new Map<string, CountByKind>();
  readonly #timer: NodeJS.Timeout;
  readonly #endWatch: () => void;
  /** When what NATS has confirmed last was sent. */
  #confirmed = Number.NEGATIVE_INFINITY;
  #upSince = performance.now();
  #writing = false;
  #closed = false;

  static async open(options: PresenceOptions): Promise<Presence> {
    const presence = new Presence(options);
    await options.link.ask(() => presence.#write());
    return presence;
  }

  private constructor(options: PresenceOptions) {
    this.#options = options;
    const { link, layout, beatMs, graceMs, log } = options;
    this.#timer = setInterval(() => this.#beat(), Math.max(50, Math.min(beatMs, graceMs / 4)));
    this.#endWatch = watchBucket(link, layout.gateways, {
      log,
      entry: ({ key, operation, value }) => {
        if (operation === "PUT") this.#hear(key, JSON.parse(Buffer.from(value).toString()) as CountByKind);
        else this.#lose(key);
      },
    });
    link.onUp(() => {
      // Nobody could be heard meanwhile.
      this.#upSince = performance.now();
      // What is under way may have been lost, and its answer would be waited for.
      this.#writing = false;
      this.#beat();
    });
  }

  /** Whether leases may be renewed, and given. */
  mayPromise(): boolean {
    return performance.now() - this.#confirmed <= this.#options.graceMs;
  }

  /** Its leases are over. */
  isLost(gateway: string): boolean {
    if (gateway === this.#options.gateway) return false;
    const { leaseMs, graceMs } = this.#options;
    return performance.now() - this.#lastHeard(gateway) > leaseMs + graceMs;
  }

  /** Nobody waits there any more. */
  isGone(gateway: string): boolean {
    return this.#gone.has(gateway) || this.isLost(gateway);
  }

  /** How many jobs are at workers, at all gateways, as of their last words. */
  held(): CountByKind {
    const { gateway, held } = this.#options;
    const sums = { ...held() };
    for (const [id, counts] of this.#held)
      for (const kind of id === gateway ? [] : JOB_KINDS)
        if (counts[kind] !== undefined) sums[kind] = (sums[kind] ?? 0) + counts[kind];
    return sums;
  }

  /** To be called often. */
  sweep(): void {
    for (const gateway of this.#heard.keys()) if (this.isLost(gateway)) this.#lose(gateway);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#endWatch();
    const { layout, gateway, link } = this.#options;
    await link.ask(() => layout.gateways.delete(gateway)).catch(() => undefined);
  }

  #lastHeard(gateway: string): number {
    return Math.max(this.#upSince, this.#heard.get(gateway) ?? Number.NEGATIVE_INFINITY);
  }

  #hear(gateway: string, held: CountByKind): void {
    this.#held.set(gateway, held);
    this.#heard.set(gateway, performance.now());
    this.#gone.delete(gateway);
  }

  #lose(gateway: string): void {
    if (gateway === this.#options.gateway || this.#gone.has(gateway)) return;
    this.#gone.add(gateway);
    this.#held.delete(gateway);
    this.#options.onGone(gateway);
  }

  #beat(): void {
    if (this.#writing || this.#closed) return;
    this.#options.link
      .ask(() => this.#write())
      .catch((error: unknown) => this.#options.log.debug({ err: error }, "This gateway could not say that it lives"));
  }

  async #write(): Promise<void> {
    const sentAt = performance.now();
    this.#writing = true;
    try {
      await this.#options.layout.gateways.put(this.#options.gateway, JSON.stringify(this.#options.held()));
      this.#confirmed = Math.max(this.#confirmed, sentAt);
    } finally {
      this.#writing = false;
    }
  }
}
