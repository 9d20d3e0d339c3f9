import type { Logger } from "../../log.ts";
import type { ClientBounds } from "../jobs/admission.ts";
import type { CountByKind } from "../jobs/jobs.ts";
import { isUnavailable } from "../stores/unavailable.ts";
import type { NatsLink } from "./link.ts";

const LOOK_MS = 1_000;
/** By kind NATS tells a subject a job: asked for seldom, while somebody wants to know, and not of more than these. */
const BY_KIND = { everyMs: 5_000, wantedMs: 60_000, most: 20_000 };

/** How many jobs have not ended, at all gateways, as of a second ago: NATS counts their messages. */
export class Waiting {
  readonly #link: NatsLink;
  readonly #log: Logger;
  /** Clients that were asked for since the last look. */
  readonly #asked = new Set<string>();
  #size = 0;
  #sizes = new Map<string, number>();
  #lookedAt = Number.NEGATIVE_INFINITY;
  #byKind: CountByKind | null = null;
  #byKindAt = Number.NEGATIVE_INFINITY;
  #wantedAt = performance.now();

  constructor(link: NatsLink, log: Logger) {
    this.#link = link;
    this.#log = log;
  }

  get size(): number {
    return this.#size;
  }

  sizeOf(client: string | null): number {
    if (client !== null) this.#asked.add(client);
    return client === null ? 0 : (this.#sizes.get(client) ?? 0);
  }

  /** As of a few seconds ago; null where it is not known. */
  byKind(): CountByKind | null {
    this.#wantedAt = performance.now();
    return this.#byKind;
  }

  /** To be called often. Only clients that have a bound are counted: their jobs are few. */
  sweep(boundsOf: (client: string | null) => ClientBounds): void {
    if (performance.now() - this.#lookedAt < LOOK_MS || !this.#link.isUp()) return;
    this.#lookedAt = performance.now();
    const clients = [...this.#asked].filter((client) => boundsOf(client).queued !== null);
    this.#asked.clear();
    this.#look(clients).catch((error: unknown) => {
      if (!isUnavailable(error)) this.#log.error({ err: error }, "The waiting jobs could not be counted");
    });
  }

  async #look(clients: string[]): Promise<void> {
    const { jsm, names, ask } = this.#link;
    const stream = names.called("JOBS");
    this.#size = (await ask(() => jsm.streams.info(stream))).state.messages;
    const sizes = new Map<string, number>();
    for (const client of clients) {
      const { state } = await ask(() => jsm.streams.info(stream, { subjects_filter: names.clientJobs(client) }));
      sizes.set(client, Object.keys(state.subjects ?? {}).length);
    }
    this.#sizes = sizes;
    await this.#lookByKind();
  }

  async #lookByKind(): Promise<void> {
    const { jsm, names, ask } = this.#link;
    const now = performance.now();
    const isWanted = now - this.#wantedAt < BY_KIND.wantedMs && this.#size <= BY_KIND.most;
    if (!isWanted) this.#byKind = null;
    if (!isWanted || now - this.#byKindAt < BY_KIND.everyMs) return;
    this.#byKindAt = now;
    const about = { subjects_filter: names.jobs() };
    const { state } = await ask(() => jsm.streams.info(names.called("JOBS"), about));
    const counts: CountByKind = {};
    for (const subject of Object.keys(state.subjects ?? {})) {
      const kind = names.kindOf(subject);
      if (kind) counts[kind] = (counts[kind] ?? 0) + 1;
    }
    this.#byKind = counts;
  }
}
