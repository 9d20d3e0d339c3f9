import { dirname } from "node:path";
import { MusterError } from "../../errors.ts";
import { fullJitter } from "../../retry.ts";
import { PartialFile } from "../../store/partial-file.ts";
import { gaps, type Range, totalBytes } from "../../store/ranges.ts";
import { volumeError } from "../../store/volume-error.ts";
import { type Claim, createClaim, rateOf } from "./claim.ts";
import type { ConnectionPool } from "./connection-pool.ts";
import { type Digester, DigestFeed } from "./digest-feed.ts";
import type { DigestStart } from "./digesters.ts";
import { fetchRange } from "./fetch-range.ts";
import { isJournaled, type NoteLevel, type TransferJob } from "./job.ts";
import type { SharedLimits } from "./limits.ts";
import type { RangeSource } from "./open-range.ts";

export type FetchJob = Extract<TransferJob, { kind: "fetch" }>;

export interface TransferTools {
  pool: ConnectionPool;
  limits: SharedLimits;
  /** Null where nothing is to be digested. */
  openDigest: ((start: DigestStart) => Digester) | null;
  signal: AbortSignal;
  onBytes: (count: number) => void;
  onNote: (message: string, level?: NoteLevel) => void;
}

/** A range that nobody is fetching. */
interface Waiting extends Range {
  failures: number;
  /** Not to be tried again before, by `performance.now()`. */
  notBefore: number;
}

/** Attempts at a range that bring nothing, after the first: where no other origin is left, and where one is. */
const RETRIES = { patient: 8, hasty: 2 };
/** The end of a range is taken over where it would take longer than this. */
const SLOW_MS = 1_000;
/** A rest that is smaller is not divided but fetched twice. */
const LEAST_SHARE = 1 << 20;
/** Why a range is given up that another connection has brought. */
const OUTRUN = Symbol("outrun");

/** One file on its way into its partial: hands out its missing ranges, and checks the digest when they are all there. */
export class FileTransfer {
  readonly #job: FetchJob;
  readonly #tools: TransferTools;
  readonly #partial: PartialFile;
  readonly #source: RangeSource;
  readonly #ended = Promise.withResolvers<void>();
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #active = new Set<Claim>();
  #waiting: Waiting[] = [];
  #digest: DigestFeed | null = null;
  /** The server sends whole files only. */
  #whole = false;
  #lastBytesAt = 0;
  #lastTakeOverAt = 0;
  /** What ends it is known: it is being verified, or has failed. */
  #settled = false;
  #failure: unknown = null;
  #closed = false;

  /** Throws MusterError where the partial cannot be opened. */
  constructor(job: FetchJob, tools: TransferTools) {
    this.#job = job;
    this.#tools = tools;
    this.#signal = AbortSignal.any([tools.signal, this.#stop.signal]);
    const { url, authorization, signed, name, page, size } = job;
    this.#source = { url, authorization, signed, name, page, size, direct: null, etag: null };
    try {
      this.#partial = PartialFile.open(job.folder, job.digest, job.size, { journaled: isJournaled(job) });
    } catch (error) {
      throw volumeError(error, job.folder);
    }
    const resumed = totalBytes(this.#partial.done);
    if (resumed > 0) tools.onNote(`Resuming ${job.name}: ${resumed} of ${job.size} bytes are there`, "info");
    this.#digest = this.#openDigest();
    this.#requeue({ start: 0, end: job.size }, 0, 0);
    tools.signal.addEventListener("abort", () => this.#fail(tools.signal.reason), { once: true });
    this.#settleIfComplete();
  }

  /** Settles when the file is complete, right and on the disk, or has failed (MusterError), and nothing writes to it. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  get connections(): number {
    return this.#active.size;
  }

  /** Its connections are held up by the digest, not by the link. */
  get isWaitingForDigest(): boolean {
    return this.#digest?.isPressed ?? false;
  }

  /** Bytes that nobody is fetching. */
  get unclaimed(): number {
    return totalBytes(this.#waiting);
  }

  /** Bytes a millisecond of the connections that it has, each. */
  rate(now: number): number {
    const rates = [...this.#active].map((claim) => rateOf(claim, now));
    return rates.length > 0 ? rates.reduce((sum, rate) => sum + rate, 0) / rates.length : 0;
  }

  /** The first missing range that may be tried now, and no more of it than `most` bytes. */
  claim(most: number, now: number): Claim | null {
    const next = this.#waiting.find(({ notBefore }) => notBefore <= now);
    if (!next) return null;
    const end = this.#whole ? next.end : Math.min(next.end, next.start + most);
    this.#waiting = this.#waiting.flatMap((range) =>
      range !== next ? [range] : end < next.end ? [{ ...range, start: end }] : [],
    );
    return this.#begin({ start: next.start, end }, next.failures, now);
  }

  /** Takes over part of the slowest range; all of it, beside its connection, where little is left. */
  takeOver(now: number): Claim | null {
    // A server that is slow altogether gets no faster by being asked for more.
    if (this.#whole || this.#lastBytesAt <= this.#lastTakeOverAt) return null;
    const timeLeft = (claim: Claim) => (claim.end - claim.position) / Math.max(1e-3, rateOf(claim, now));
    const slowest = [...this.#active]
      .filter(({ isHedged, position, end, startedAt, begunAt }) => {
        // Before its first byte a connection is not slow but new, until others have long overtaken it.
        const isSlow = begunAt === null ? this.#lastBytesAt - startedAt > 2 * SLOW_MS : now - begunAt > SLOW_MS;
        return isSlow && !isHedged && end > position;
      })
      .toSorted((a, b) => timeLeft(b) - timeLeft(a))[0];
    if (!slowest || timeLeft(slowest) < SLOW_MS) return null;
    this.#lastTakeOverAt = now;
    const left = slowest.end - slowest.position;
    const { end } = slowest;
    if (left < 2 * LEAST_SHARE) {
      slowest.isHedged = true;
      return this.#begin({ start: slowest.position, end }, 0, now, true);
    }
    slowest.end = slowest.position + Math.ceil(left / 2);
    return this.#begin({ start: slowest.end, end }, 0, now);
  }

  /** Fetches the claim. Gives the failure for the caller to know of; it is dealt with. */
  async run(claim: Claim): Promise<MusterError | null> {
    const { pool, limits } = this.#tools;
    const sink = {
      partial: this.#partial,
      digest: this.#digest,
      onNoted: (count: number) => {
        this.#lastBytesAt = performance.now();
        this.#tools.onBytes(count);
      },
    };
    const signal = AbortSignal.any([this.#signal, claim.controller.signal]);
    let failure: MusterError | null = null;
    try {
      if ((await fetchRange(this.#source, claim, sink, { pool, limits, signal })) === "ignored") this.#fetchWhole();
    } catch (error) {
      if (!signal.aborted) failure = this.#retryLater(claim, volumeError(error, dirname(this.#partial.path)));
    }
    this.#active.delete(claim);
    for (const other of this.#active) {
      if (gaps(this.#partial.done, other).length === 0) other.controller.abort(OUTRUN);
    }
    this.#settleIfComplete();
    return failure;
  }

  #begin(range: Range, failures: number, now: number, isHedged = false): Claim {
    const claim = { ...createClaim(range, failures, now), isHedged };
    this.#active.add(claim);
    return claim;
  }

  #retryLater(claim: Claim, error: unknown): MusterError | null {
    if (!(error instanceof MusterError) || !error.retryable) {
      this.#fail(error);
      return null;
    }
    const progressed = claim.position > claim.start && !this.#whole;
    const failures = progressed ? 0 : claim.failures + 1;
    if (failures > (this.#job.patient ? RETRIES.patient : RETRIES.hasty)) {
      this.#fail(error);
      return error;
    }
    // What brought bytes is worth trying again at once.
    const wait = progressed ? fullJitter(1, 200, 200) : fullJitter(failures, 500, 30_000);
    const delay = wait + Number(error.details.retryAfterMs ?? 0);
    const when = progressed ? "" : ` Trying again in ${(delay / 1000).toFixed(1)} s`;
    this.#tools.onNote(`${error.message}${when}`);
    if (this.#whole) this.#startOver();
    this.#requeue(this.#whole ? { start: 0, end: this.#job.size } : claim, failures, performance.now() + delay);
    return error;
  }

  /** What the range lacks waits for a connection again, in the order of the file. */
  #requeue(range: Range, failures: number, notBefore: number): void {
    const missing = gaps(this.#partial.done, range).map((gap) => ({ ...gap, failures, notBefore }));
    this.#waiting = [...this.#waiting, ...missing].toSorted((a, b) => a.start - b.start);
  }

  #fetchWhole(): void {
    if (this.#whole) return;
    this.#whole = true;
    const { host } = new URL(this.#source.direct ?? this.#job.url);
    this.#tools.onNote(`${host} sends whole files only; fetching ${this.#job.name} in one piece`);
    for (const other of this.#active) other.controller.abort(OUTRUN);
    this.#startOver();
    this.#waiting = [{ start: 0, end: this.#job.size, failures: 0, notBefore: 0 }];
  }

  #startOver(): void {
    this.#tools.onBytes(-totalBytes(this.#partial.done));
    this.#partial.restart(this.#job.digest, this.#job.size);
    this.#digest?.close();
    this.#digest = this.#openDigest();
  }

  #openDigest(): DigestFeed | null {
    const { digest, size } = this.#job;
    const digester = this.#tools.openDigest?.({ fd: this.#partial.fd, algorithm: digest.algorithm, size });
    return digester ? new DigestFeed(this.#partial, digester) : null;
  }

  #settleIfComplete(): void {
    if (this.#settled) {
      if (this.#active.size === 0) this.#close();
      return;
    }
    if (this.#active.size > 0 || totalBytes(this.#partial.done) < this.#job.size) return;
    this.#settled = true;
    void this.#verify();
  }

  async #verify(): Promise<void> {
    const { digest, size, name } = this.#job;
    try {
      const found = (await this.#digest?.finish(size, this.#signal)) ?? digest.hex;
      this.#signal.throwIfAborted();
      if (found !== digest.hex) {
        this.#startOver();
        throw new MusterError(
          "DIGEST_MISMATCH",
          `${name} came with the wrong ${digest.algorithm} digest: expected ${digest.hex}, got ${found}. It was dropped.`,
          {
            hint: "A mirror or proxy serves a broken copy: try another HF_ENDPOINT, then run `muster sync` again.",
          },
        );
      }
      // Many small ones are synced together by who asked for them.
      if (isJournaled(this.#job)) await this.#partial.sync();
      this.#ended.resolve();
    } catch (error) {
      this.#ended.reject(volumeError(error, this.#job.folder));
    }
    this.#close();
  }

  #fail(error: unknown): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#waiting = [];
    this.#failure = error;
    this.#stop.abort(error);
    this.#settleIfComplete();
  }

  /** Nothing writes any more. */
  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#digest?.close();
    this.#partial.close();
    if (this.#failure !== null) this.#ended.reject(volumeError(this.#failure, this.#job.folder));
  }
}
