import type { JobRecord } from "../jobs/job-record.ts";
import type { JobFilter } from "../jobs/jobs.ts";
import { isThere, type NatsLink } from "./link.ts";

interface Indexed {
  id: string;
  client: string | null;
  createdAt: number;
}

/** Nothing here knows which jobs ended at a worker: so many of the newest are looked at. */
const MOST_LOOKED_AT = 5_000;
/** Read at once when the index is gone through. */
const BATCH = 64;

/** The ids of jobs in the order in which they came: a bucket keeps none. */
export class JobIndex {
  readonly #link: NatsLink;

  constructor(link: NatsLink) {
    this.#link = link;
  }

  /** Before the job itself is there, so that none is without. */
  async add({ id, client, createdAt }: JobRecord): Promise<void> {
    const { js, names } = this.#link;
    const publish = js.publish(
      names.index({ id, client }),
      JSON.stringify({ id, client, createdAt } satisfies Indexed),
    );
    await publish.catch((error: unknown) => {
      if (!isThere(error)) throw error;
    });
  }

  /** Newest first. `find`: null for a job that does not fit. */
  async list(
    { client, endedAt, after, limit }: JobFilter,
    find: (id: string) => Promise<JobRecord | null>,
  ): Promise<JobRecord[]> {
    const { jsm, names } = this.#link;
    const found: JobRecord[] = [];
    const { first_seq: first, last_seq: last } = (await jsm.streams.info(this.#stream())).state;
    let from = last;
    if (after !== undefined) {
      const place = await jsm.streams.getMessage(this.#stream(), { last_by_subj: names.indexOf(after) });
      if (!place) return [];
      from = place.seq - 1;
    }
    const oldest = endedAt === undefined ? first : Math.max(first, from - MOST_LOOKED_AT);
    for (let high = from; high >= oldest && found.length < limit; high -= BATCH) {
      const sequences = Array.from({ length: Math.min(BATCH, high - first + 1) }, (_, n) => high - n);
      const entries = await Promise.all(sequences.map((seq) => this.#at(seq)));
      const fitting = entries.filter((entry) => entry !== null && (client === undefined || entry.client === client));
      const jobs = await Promise.all(fitting.map((entry) => find(entry!.id)));
      found.push(...jobs.filter((job) => job !== null));
    }
    return found.slice(0, limit);
  }

  /** Oldest first. */
  async all(): Promise<string[]> {
    const ids: string[] = [];
    await this.#each(async ({ id }) => {
      ids.push(id);
      return true;
    });
    return ids;
  }

  /** Goes through what came before that time. `forget`: whether it is gone. */
  async prune(before: number, forget: (id: string) => Promise<boolean>): Promise<void> {
    await this.#each(async ({ id, createdAt }, sequence) => {
      if (createdAt >= before) return false;
      if (await forget(id))
        await this.#link.jsm.streams.deleteMessage(this.#stream(), sequence, false).catch(() => false);
      return true;
    });
  }

  async #each(take: (entry: Indexed, sequence: number) => Promise<boolean>): Promise<void> {
    const { jsm, names } = this.#link;
    for (let seq = 1; ; seq += 1) {
      const message = await jsm.direct.getMessage(this.#stream(), { seq, next_by_subj: names.indexes() });
      if (!message || !(await take(message.json<Indexed>(), message.seq))) return;
      seq = message.seq;
    }
  }

  async #at(seq: number): Promise<Indexed | null> {
    const message = await this.#link.jsm.direct.getMessage(this.#stream(), { seq });
    return message?.json<Indexed>() ?? null;
  }

  #stream(): string {
    return this.#link.names.called("JOBINDEX");
  }
}
