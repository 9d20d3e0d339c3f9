import { dirname } from "node:path";
import { type ErrorCode, MusterError } from "../../errors.ts";
import { askedWait, fullJitter, LONG_WAIT_MS } from "../../retry.ts";
import { PartialFile } from "../../store/partial-file.ts";
import { gaps, type Range, totalBytes } from "../../store/ranges.ts";
import { volumeError } from "../../store/volume-error.ts";
import type { Claim } from "./claim.ts";
import { Claims } from "./claims.ts";
import type { ConnectionPool } from "./connection-pool.ts";
import { type Digester, DigestFeed } from "./digest-feed.ts";
import type { DigestStart } from "./digesters.ts";
import { fetchRange } from "./fetch-range.ts";
import { isJournaled, type NoteLevel, type TransferJob } from "./job.ts";
import type { SharedLimits } from "./limits.ts";
import { digestMismatch, type RangeSource } from "./open-range.ts";
import { tellSparingly } from "./tell-sparingly.ts";
import { WaitingRanges } from "./waiting-ranges.ts";

export type FetchJob = Extract<TransferJob, { kind: "fetch" }>;

export interface TransferTools {
  pool: ConnectionPool;
  limits: SharedLimits;
  /** Null where nothing is to be digested. */
  openDigest: ((start: DigestStart) => Digester) | null;
  signal: AbortSignal;
  /** Bytes that came in, wanted or not. */
  onReceived: (count: number) => void;
  onBytes: (count: number) => void;
  onNote: (message: string, level?: NoteLevel) => void;
  onRetry: (code: ErrorCode) => void;
}

/** Attempts at a range that bring nothing, after the first: where no other origin is left, and where one is. */
const RETRIES = { patient: 8, hasty: 2 };
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
  readonly #active = new Claims();
  readonly #waiting = new WaitingRanges();
  /** Of what went wrong, and is tried again. */
  readonly #tell: (what: string, more: string) => void;
  #digest: DigestFeed | null = null;
  /** The server sends whole files only. */
  #whole = false;
  /** What ends it is known: it is being verified, or has failed. */
  #settled = false;
  #failure: unknown = null;
  #closed = false;

  /** Throws MusterError where the partial cannot be opened. */
  constructor(job: FetchJob, tools: TransferTools) {
    this.#job = job;
    this.#tools = tools;
    this.#tell = tellSparingly(tools.onNote);
    this.#signal = AbortSignal.any([tools.signal, this.#stop.signal]);
    this.#source = { ...job, direct: null, etag: null };
    try {
      this.#partial = PartialFile.open(job.folder, job.digest, job.size, { journaled: isJournaled(job) });
    } catch (error) {
      throw volumeError(error, job.folder);
    }
    const resumed = totalBytes(this.#partial.done);
    if (resumed > 0) tools.onNote(`Resuming ${job.name}: ${resumed} of ${job.size} bytes are there`, "info");
    this.#digest = this.#openDigest();
    this.#waiting.add(this.#missing({ start: 0, end: job.size }), { failures: 0, notBefore: 0 });
    tools.signal.addEventListener("abort", () => this.#cancel(), { once: true });
    this.#settleIfComplete();
  }

  /** Settles when the file is complete, right and on the disk, or has failed (MusterError), and nothing writes to it. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  get connections(): number {
    return this.#active.size;
  }

  /** Some of them have brought nothing yet. */
  get hasNewConnections(): boolean {
    return this.#active.areNew;
  }

  /** Milliseconds so far in which its connections were held up by the digest, not by the link. */
  get waitedMs(): number {
    return this.#digest?.waitedMs ?? 0;
  }

  /** Bytes that nobody is fetching. */
  get unclaimed(): number {
    return this.#waiting.bytes;
  }

  /** Bytes a millisecond of the connections that it has, each. */
  rate(now: number): number {
    return this.#active.rate(now);
  }

  /** Milliseconds that its connections waited for their first byte, on average. */
  get latency(): number {
    return this.#active.latency;
  }

  /** The first missing range that may be tried now, and no more of it than `most` bytes. */
  claim(most: number, now: number): Claim | null {
    const next = this.#waiting.take(this.#whole ? this.#job.size : most, now);
    return next && this.#active.add(next, next.failures, now);
  }

  /** Part of the slowest range, or all of it beside the connection that has it. */
  takeOver(now: number, which: { silentOnly: boolean }): Claim | null {
    return this.#whole ? null : this.#active.takeOver(now, which);
  }

  /** One connection less is enough. False where none has so much to do that it would be worth ending. */
  shed(): boolean {
    const rest = this.#whole ? null : this.#active.cutLast();
    if (rest) this.#waiting.add([rest], { failures: 0, notBefore: 0 });
    return rest !== null;
  }

  /** Fetches the claim. Gives the failure for the caller to know of; it is dealt with. */
  async run(claim: Claim): Promise<MusterError | null> {
    const { pool, limits } = this.#tools;
    const sink = {
      partial: this.#partial,
      digest: this.#digest,
      onReceived: this.#tools.onReceived,
      onNoted: (count: number) => {
        this.#active.onBytes(performance.now());
        this.#tools.onBytes(count);
      },
    };
    const signal = AbortSignal.any([this.#signal, claim.controller.signal]);
    let failure: MusterError | null = null;
    try {
      const outcome = await fetchRange(this.#source, claim, sink, { pool, limits, signal });
      this.#active.delete(claim);
      if (outcome === "ignored") this.#fetchWhole();
    } catch (error) {
      this.#active.delete(claim);
      if (!signal.aborted) failure = this.#retryLater(claim, volumeError(error, dirname(this.#partial.path)));
    }
    for (const other of this.#active) {
      if (gaps(this.#partial.done, other).length === 0) other.controller.abort(OUTRUN);
    }
    this.#settleIfComplete();
    return failure;
  }

  #retryLater(claim: Claim, error: unknown): MusterError | null {
    // Of a link that grants access by itself only who gave it has another.
    const hasExpired = error instanceof MusterError && error.code === "REDIRECT_EXPIRED" && this.#job.signed;
    if (!(error instanceof MusterError) || !error.retryable || hasExpired) {
      this.#fail(error);
      return null;
    }
    // Another connection brings the rest, or has brought it.
    if (!this.#whole && this.#missing(claim).length === 0) return error;
    const progressed = claim.position > claim.start && !this.#whole;
    const failures = progressed ? 0 : claim.failures + 1;
    const { patient } = this.#job;
    // Another origin can serve meanwhile.
    const isPutOff = !patient && askedWait(error) > LONG_WAIT_MS;
    if (isPutOff || failures > (patient ? RETRIES.patient : RETRIES.hasty)) {
      this.#fail(error);
      return error;
    }
    // What brought bytes is worth trying again at once.
    const wait = progressed ? fullJitter(1, 200, 200) : fullJitter(failures, 500, 30_000);
    const delay = wait + askedWait(error);
    this.#tools.onRetry(error.code);
    this.#tell(error.message, progressed ? "" : ` Trying again in ${(delay / 1000).toFixed(1)} s`);
    try {
      if (this.#whole) this.#startOver();
    } catch (cause) {
      this.#fail(cause);
      return null;
    }
    const range = this.#whole ? { start: 0, end: this.#job.size } : claim;
    this.#waiting.add(this.#missing(range), { failures, notBefore: performance.now() + delay });
    return error;
  }

  /** What of the range is not there, and nobody is fetching. */
  #missing(range: Range): Range[] {
    return gaps(this.#active.coverOn(this.#partial.done), range);
  }

  #fetchWhole(): void {
    if (this.#whole) return;
    this.#whole = true;
    const { host } = new URL(this.#source.direct ?? this.#job.url);
    this.#tools.onNote(`${host} sends whole files only; fetching ${this.#job.name} in one piece`);
    for (const other of this.#active) other.controller.abort(OUTRUN);
    this.#startOver();
    this.#waiting.clear();
    this.#waiting.add([{ start: 0, end: this.#job.size }], { failures: 0, notBefore: 0 });
  }

  #startOver(): void {
    this.#tools.onBytes(-totalBytes(this.#partial.done));
    this.#digest?.close();
    this.#partial.restart(this.#job.digest, this.#job.size);
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
    const { digest, size } = this.#job;
    try {
      const found = (await this.#digest?.finish(size)) ?? digest.hex;
      this.#signal.throwIfAborted();
      if (found !== digest.hex) {
        this.#startOver();
        throw digestMismatch(this.#job, found);
      }
      // Many small ones are synced together by who asked for them.
      if (isJournaled(this.#job)) await this.#partial.sync();
      this.#ended.resolve();
    } catch (error) {
      this.#failure = this.#signal.aborted ? this.#signal.reason : error;
    }
    this.#close();
  }

  #cancel(): void {
    this.#fail(this.#tools.signal.reason);
    // What it verifies may be large; a digest that is given up fails the verification.
    this.#digest?.close();
  }

  #fail(error: unknown): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#waiting.clear();
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
