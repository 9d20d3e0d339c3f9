import type { Claim } from "./claim.ts";
import { type FetchJob, FileTransfer, type TransferTools } from "./file-transfer.ts";
import { Growth } from "./growth.ts";
import { freePlaces, leavePlace, type SharedLimits, takePlace } from "./limits.ts";

interface Queued {
  job: FetchJob;
  tools: TransferTools;
  resolve: (transfer: FileTransfer) => void;
  reject: (error: unknown) => void;
}

const TICK_MS = 12;
/** Files open at once: enough to keep connections busy over small ones, few whatever a repository holds. */
const MOST_FILES = 64;
/** Bytes of a piece: at the least, and while the link allows; it digests in a moment. */
const PIECE = { least: 512 << 10, usual: 8 << 20 };
/** Connections that a file is shared among while nothing is known of the link: what one has cannot be had by others for a while. */
const FIRST = 48;
/**
 * A piece takes about so long, and so many times as long as the server takes to answer: requests cost little then, and
 * bytes come nearly in order, which the digest wants. Towards the end, and on trial, pieces are shorter.
 */
const LASTING_MS = { alone: 250, least: 60 };
const LATENCIES = { usual: 20, least: 1 };
const TRIAL_MS = 200;

/** Gives the connections of a thread their work: ranges of its files, and of the slowest of them at the end. */
export class Scheduler {
  readonly #limits: SharedLimits;
  readonly #growth: Growth;
  readonly #first: number;
  readonly #queue: Queued[] = [];
  readonly #files = new Set<FileTransfer>();
  #connections = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(limits: SharedLimits, mostConnections: number) {
    this.#limits = limits;
    this.#growth = new Growth(mostConnections);
    this.#first = Math.min(FIRST, mostConnections);
  }

  /** Settles when the file is complete and verified in its partial. Throws MusterError. */
  async fetch(job: FetchJob, tools: Omit<TransferTools, "onReceived">): Promise<void> {
    const onReceived = (count: number) => this.#growth.count(count);
    const transfer = await new Promise<FileTransfer>((resolve, reject) => {
      const queued = { job, tools: { ...tools, onReceived }, resolve, reject };
      this.#queue.push(queued);
      // One that is cancelled does not wait for its turn to be told so.
      tools.signal.addEventListener("abort", () => this.#drop(queued), { once: true });
      this.#fill();
    });
    await transfer.ended;
  }

  /** Starts connections while there is work for them. */
  #fill(): void {
    const { target } = this.#growth;
    // One more than there should be may help those that have gone silent.
    while (this.#connections <= target) {
      // The first needs no place: each thread has one connection of its own.
      const free = this.#connections === 0 || takePlace(this.#limits);
      const work = !free ? null : this.#connections < target ? this.#next() : this.#takeOver({ silentOnly: true });
      if (!work) {
        if (free && this.#connections > 0) leavePlace(this.#limits);
        break;
      }
      this.#connections += 1;
      void this.#run(work);
    }
    this.#watch();
  }

  async #run(first: { file: FileTransfer; claim: Claim }): Promise<void> {
    for (let work: typeof first | null = first; work; work = this.#mayGoOn() ? this.#next() : null) {
      const failure = await work.file.run(work.claim);
      if (failure?.code === "RATE_LIMITED") this.#growth.shrink();
    }
    this.#connections -= 1;
    if (this.#connections > 0) leavePlace(this.#limits);
    this.#fill();
  }

  /** Ends connections that turned out to bring nothing more. */
  #shed(): void {
    const files = [...this.#files].toSorted((a, b) => b.connections - a.connections);
    for (let surplus = this.#connections - this.#growth.target; surplus > 0; surplus -= 1) {
      if (!files.some((file) => file.shed())) return;
    }
  }

  #mayGoOn(): boolean {
    return this.#connections <= this.#growth.target;
  }

  /** A range of the file with the fewest connections, a file that is not open yet, or part of a slow range. */
  #next(): { file: FileTransfer; claim: Claim } | null {
    const now = performance.now();
    const open = [...this.#files].toSorted((a, b) => a.connections - b.connections);
    for (const file of open) {
      const claim = file.claim(this.#pieceOf(file, now), now);
      if (claim) return { file, claim };
    }
    while (this.#queue.length > 0 && this.#files.size < MOST_FILES) {
      const file = this.#openNext();
      const claim = file?.claim(this.#pieceOf(file, now), now);
      if (file && claim) return { file, claim };
    }
    return this.#takeOver({ silentOnly: false });
  }

  #takeOver(which: { silentOnly: boolean }): { file: FileTransfer; claim: Claim } | null {
    const now = performance.now();
    for (const file of this.#files) {
      const claim = file.takeOver(now, which);
      if (claim) return { file, claim };
    }
    return null;
  }

  #openNext(): FileTransfer | null {
    const queued = this.#queue.shift();
    if (!queued) return null;
    try {
      const file = new FileTransfer(queued.job, queued.tools);
      this.#files.add(file);
      const remove = () => {
        this.#files.delete(file);
        this.#fill();
      };
      file.ended.then(remove, remove);
      queued.resolve(file);
      return file;
    } catch (error) {
      queued.reject(error);
      return null;
    }
  }

  #drop(queued: Queued): void {
    const index = this.#queue.indexOf(queued);
    if (index < 0) return;
    this.#queue.splice(index, 1);
    queued.reject(queued.tools.signal.reason);
  }

  #pieceOf(file: FileTransfer, now: number): number {
    const rate = file.rate(now);
    const { onTrial, target } = this.#growth;
    const { unclaimed, connections } = file;
    // All that begin together get the same share; what comes after is shorter towards the end.
    const idle = Math.max(1, Math.min(target - connections, freePlaces(this.#limits) + 1));
    if (rate === 0)
      return Math.max(PIECE.least, Math.min(PIECE.usual, Math.ceil(unclaimed / Math.max(idle, this.#first))));
    const answered = (latencies: number) => rate * latencies * file.latency;
    // Others are digested after it: only one that is alone brings its bytes in order, however long it is.
    const alone = target === 1 ? rate * LASTING_MS.alone : 0;
    const most = onTrial ? rate * TRIAL_MS : Math.max(PIECE.usual, alone, answered(LATENCIES.usual));
    const least = Math.max(rate * LASTING_MS.least, answered(LATENCIES.least));
    const share = Math.max(unclaimed / (2 * target), Math.min(least, unclaimed / idle));
    return Math.max(PIECE.least, Math.round(Math.min(most, share)));
  }

  /** Looks again a few times a second while anything is under way: ranges become due, slow ones are taken over. */
  #watch(): void {
    const isBusy = this.#files.size > 0 || this.#queue.length > 0;
    if (isBusy && !this.#timer) {
      this.#growth.begin();
      this.#timer = setInterval(() => {
        const hasMore = this.#connections >= this.#growth.target;
        const files = [...this.#files];
        const isBack = this.#growth.tick({
          hasMore,
          waitedMs: files.reduce((sum, file) => sum + file.waitedMs, 0),
          areNew: files.some(({ hasNewConnections }) => hasNewConnections),
        });
        if (isBack) this.#shed();
        this.#fill();
      }, TICK_MS);
    } else if (!isBusy && this.#timer) {
      clearInterval(this.#timer);
      this.#timer = null;
    }
  }
}
