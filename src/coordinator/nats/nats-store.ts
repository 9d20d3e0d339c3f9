import type { JobOutcome, JobRef } from "../../job.ts";
import type { Logger } from "../../log.ts";
import { isFinal, type JobRecord } from "../jobs/job-record.ts";
import type { JobFilter } from "../jobs/jobs.ts";
import { dayOf, type JobStore } from "../stores/job-store.ts";
import { assigned, ended, fits, released, tokensIn } from "../stores/kept-job.ts";
import { isUnavailable } from "../stores/unavailable.ts";
import { endedEntry, isOver, type JobEntry, newEntry } from "./job-entry.ts";
import { JobIndex } from "./job-index.ts";
import type { Layout } from "./layout.ts";
import { isConflict, type NatsLink } from "./link.ts";
import { toToken } from "./names.ts";
import { Payloads } from "./payloads.ts";

export interface NatsStoreOptions {
  link: NatsLink;
  layout: Layout;
  /** Id of this gateway. */
  gateway: string;
  log: Logger;
  /** Where the message of a job that this gateway has pulled is acknowledged. */
  ackOf?: (jobId: string) => string | null;
  onEnded?: (entry: JobEntry) => void;
}

const AGAIN_MS = 200;
const TRIES = 3;

/**
 * Jobs in a bucket that gateways share. Each change reads an entry and writes it only if nobody wrote meanwhile. One that
 * got no answer is looked for before it is made again.
 */
export class NatsStore implements JobStore {
  readonly #options: NatsStoreOptions;
  readonly #payloads: Payloads;
  readonly #index: JobIndex;
  #closed = false;

  constructor(options: NatsStoreOptions) {
    this.#options = options;
    this.#payloads = new Payloads(options.link, options.layout);
    this.#index = new JobIndex(options.link);
  }

  /** `sequence`: of its message, where it has one. */
  async insert(job: JobRecord, sequence: number | null = null): Promise<boolean> {
    const { link, layout, gateway } = this.#options;
    return await link.ask(async () => {
      if (await layout.state.get(toToken(job.id))) return false;
      await this.#index.add(job);
      const input = await this.#payloads.keep(job.input);
      const entry = { ...newEntry(job, { input, sequence, origin: gateway }), change: crypto.randomUUID() };
      try {
        await layout.state.create(toToken(job.id), JSON.stringify(entry));
        return true;
      } catch (error) {
        // Its first try may have come through without an answer.
        const there = await this.entry(job.id);
        if (there?.change === entry.change) return true;
        this.#payloads.forget(input);
        if (!isConflict(error)) throw error;
        return false;
      }
    });
  }

  async get(id: string): Promise<JobRecord | null> {
    const entry = await this.entry(id);
    return entry && (await this.#whole(entry));
  }

  /** As it stands now at the leader. */
  async entry(id: string): Promise<JobEntry | null> {
    return (await this.#read(id))?.entry ?? null;
  }

  /** Null while it has not ended. `answer`: with the output of an attended job, which is then forgotten. */
  async ended(id: string): Promise<JobRecord | null> {
    const entry = await this.entry(id);
    if (!entry || !isOver(entry)) return null;
    const job = await this.#whole(entry);
    if (!entry.answer || entry.origin !== this.#options.gateway) return job;
    const output = await this.#options.link.ask(() => this.#payloads.read(entry.answer!));
    const forget = this.#change(id, (now) => (now.answer ? { ...now, answer: null } : null));
    forget.then(
      () => this.#payloads.forget(entry.answer),
      (error: unknown) => this.#options.log.debug({ err: error, jobId: id }, "An answer was not forgotten"),
    );
    return { ...job, outcome: { ...job.outcome!, output } };
  }

  async list(filter: JobFilter): Promise<JobRecord[]> {
    const find = async (id: string) => {
      const entry = await this.entry(id);
      return entry && fits(entry.job, filter) ? await this.#whole(entry) : null;
    };
    return await this.#options.link.ask(() => this.#index.list(filter, find));
  }

  async unfinished(): Promise<JobRecord[]> {
    const ids = await this.#options.link.ask(() => this.#index.all());
    const jobs = await Promise.all(ids.map((id) => this.get(id)));
    return jobs.filter((job) => job !== null && !isFinal(job.state)) as JobRecord[];
  }

  async assign(id: string, workerId: string): Promise<JobRecord | null> {
    const { gateway, ackOf = () => null } = this.#options;
    const entry = await this.#change(id, (now) => {
      const job = assigned(now.job, workerId);
      return job && { ...now, job, holder: gateway, ack: ackOf(id) ?? now.ack };
    });
    return entry && (await this.#whole(entry));
  }

  /** Where this gateway holds the job; `holder`: in the name of one that is gone. */
  async release(
    id: string,
    attempt: number,
    { failed, holder = this.#options.gateway }: { failed: boolean; holder?: string | null },
  ): Promise<JobRecord | null> {
    const entry = await this.#change(id, (now) => {
      const job = now.holder === holder ? released(now.job, attempt, { failed }) : null;
      return job && { ...now, job };
    });
    return entry && (await this.#whole(entry));
  }

  /** The worker has come here with the job. Null where it is not its any more. */
  async adopt({ jobId, attempt }: JobRef, workerId: string): Promise<JobEntry | null> {
    const { gateway } = this.#options;
    const isIts = ({ job }: JobEntry) =>
      job.state === "assigned" && job.attempt === attempt && job.workerId === workerId;
    return await this.#change(jobId, (now) => (isIts(now) ? { ...now, holder: gateway } : null));
  }

  /** It is to end, whoever holds it then. Null where it is in the queue, or has ended. */
  async requestCancel(id: string): Promise<JobEntry | null> {
    return await this.#change(id, (now) => (now.job.state === "assigned" ? { ...now, cancelled: true } : null));
  }

  async commit(id: string, attempt: number, outcome: JobOutcome): Promise<JobRecord | null> {
    const { gateway, link } = this.#options;
    const before = await this.entry(id);
    if (!before || !ended(before.job, attempt, outcome)) return null;
    const output =
      outcome.output === undefined
        ? null
        : await this.#insist(() => link.ask(() => this.#payloads.keep(outcome.output)));
    // Whoever attends it here gets it from memory.
    const isAwaited = before.job.attended && before.origin !== gateway;
    const beside = { output: before.job.attended ? null : output, answer: isAwaited ? output : null };
    let whole = null as JobRecord | null;
    const entry = await this.#change(
      id,
      (now) => {
        whole = ended(now.job, attempt, outcome);
        return whole && endedEntry(now, whole, beside);
      },
      { insist: true },
    );
    if (!entry || !whole) {
      this.#payloads.forget(output);
      return null;
    }
    if (!before.job.keepInput) this.#payloads.forget(before.input);
    if (before.job.attended && !isAwaited) this.#payloads.forget(output);
    this.#options.onEnded?.(entry);
    await this.#count(whole);
    return whole;
  }

  async tokensOf(client: string, day: string): Promise<number> {
    const { link, layout } = this.#options;
    const entry = await link.ask(() => layout.tokens.get(`${day}.${toToken(client)}`));
    return Number(entry?.string() ?? 0);
  }

  async prune(before: number): Promise<void> {
    const { link } = this.#options;
    await link.ask(async () => {
      await this.#index.prune(before, async (id) => {
        const entry = await this.entry(id);
        if (entry && !(entry.job.finishedAt !== null && entry.job.finishedAt < before)) return false;
        const bucket = link.names.called("JOBSTATE");
        await link.jsm.streams.purge(`KV_${bucket}`, { filter: `$KV.${bucket}.${toToken(id)}` });
        for (const payload of [entry?.input, entry?.output, entry?.answer]) this.#payloads.forget(payload ?? null);
        return true;
      });
      // Tokens of earlier days go with their time.
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  async #whole({ job, input, output }: JobEntry): Promise<JobRecord> {
    return await this.#options.link.ask(async () => ({
      ...job,
      input: input && (await this.#payloads.read(input)),
      outcome: job.outcome && (output ? { ...job.outcome, output: await this.#payloads.read(output) } : job.outcome),
    }));
  }

  async #read(id: string): Promise<{ entry: JobEntry; revision: number } | null> {
    const { link, layout } = this.#options;
    const found = await link.ask(() => layout.state.get(toToken(id)));
    return found?.operation === "PUT" ? { entry: found.json<JobEntry>(), revision: found.revision } : null;
  }

  /** Null where `make` says so. `insist`: for as long as the store lives; otherwise only a few times. */
  async #change(
    id: string,
    make: (entry: JobEntry) => JobEntry | null,
    { insist = false } = {},
  ): Promise<JobEntry | null> {
    const change = crypto.randomUUID();
    const once = async (): Promise<JobEntry | null> => {
      for (;;) {
        const found = await this.#read(id);
        if (found?.entry.change === change) return found.entry;
        const next = found && make(found.entry);
        if (!next) return null;
        const entry = { ...next, change };
        try {
          const { link, layout } = this.#options;
          await link.ask(() => layout.state.update(toToken(id), JSON.stringify(entry), found.revision));
          return entry;
        } catch (error) {
          if (!isConflict(error)) throw error;
        }
      }
    };
    return await this.#insist(once, insist ? Number.POSITIVE_INFINITY : TRIES);
  }

  async #insist<T>(work: () => Promise<T>, tries = Number.POSITIVE_INFINITY): Promise<T> {
    for (let left = tries; ; left -= 1) {
      try {
        return await work();
      } catch (error) {
        if (!isUnavailable(error) || left <= 1 || this.#closed) throw error;
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  }

  /** Where the gateway dies before this the tokens are the client's gain. */
  async #count(job: JobRecord): Promise<void> {
    const { link, layout, log } = this.#options;
    const tokens = tokensIn(job);
    if (job.client === null || tokens === 0) return;
    const key = `${dayOf(Date.now())}.${toToken(job.client)}`;
    const add = async () => {
      const entry = await layout.tokens.get(key);
      const total = String(Number(entry?.string() ?? 0) + tokens);
      await (entry ? layout.tokens.update(key, total, entry.revision) : layout.tokens.create(key, total));
    };
    const again = async (): Promise<void> =>
      await add().catch((error) => (isConflict(error) ? again() : Promise.reject(error)));
    await link.ask(again).catch((error: unknown) => log.warn({ err: error }, "Tokens could not be counted"));
  }
}
