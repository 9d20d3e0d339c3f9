import type { JobRecord } from "./job-record.ts";
import type { JobEvent, JobEvents } from "./jobs.ts";

type Chunk = Extract<JobEvent, { type: "chunk" }>;
type Place = Pick<Chunk, "attempt" | "cs">;

/** What may wait for one who reads slowly before chunks are acknowledged no more, in bytes of their frames. */
const SLOW_BYTES = 1024 * 1024;
/** A worker that goes on for so long without acknowledgements keeps to no ring: the rest comes with the result. */
const MOST_BYTES = 16 * SLOW_BYTES;
/** Of each job that nobody attends, for those who come back: the last chunks. */
const HISTORY_BYTES = 128 * 1024;

interface Channel {
  followers: Set<Follower>;
  history: { chunk: Chunk; bytes: number }[];
  historyBytes: number;
}

export interface FollowOptions {
  /** Chunks up to this one are known. */
  after?: Place;
  /** Its events are taken no more; `ended` false where more would have come. */
  onLeave?: (ended: boolean) => void;
}

/** Who follows which job, and what they have not taken yet. */
export class Followers {
  readonly #channels = new Map<string, Channel>();
  readonly #onRoom: (jobId: string) => void;

  /** `onRoom`: who was slow with a job is not any more. */
  constructor(onRoom: (jobId: string) => void) {
    this.#onRoom = onRoom;
  }

  follow(jobId: string, first: JobEvent, { after, onLeave }: FollowOptions = {}): JobEvents {
    const channel = this.#channel(jobId);
    const follower = new Follower({
      onRoom: () => this.#onRoom(jobId),
      onLeave: (ended) => {
        channel.followers.delete(follower);
        if (channel.followers.size === 0 && channel.history.length === 0 && this.#channels.get(jobId) === channel)
          this.#channels.delete(jobId);
        this.#onRoom(jobId);
        onLeave?.(ended);
      },
    });
    if (first.type === "end") follower.end(first);
    else follower.push(first, 0);
    for (const { chunk, bytes } of channel.history) if (isAfter(chunk, after)) follower.push(chunk, bytes);
    channel.followers.add(follower);
    return follower;
  }

  /** `keep`: for those who follow later. */
  chunk(jobId: string, chunk: Chunk, { bytes, keep }: { bytes: number; keep: boolean }): void {
    const channel = keep ? this.#channel(jobId) : this.#channels.get(jobId);
    if (!channel) return;
    for (const follower of channel.followers) follower.push(chunk, bytes);
    if (!keep) return;
    if (channel.history.at(-1)?.chunk.attempt !== chunk.attempt)
      Object.assign(channel, { history: [], historyBytes: 0 });
    channel.history.push({ chunk, bytes });
    channel.historyBytes += bytes;
    while (channel.historyBytes > HISTORY_BYTES) channel.historyBytes -= channel.history.shift()?.bytes ?? 0;
  }

  state(jobId: string, event: Extract<JobEvent, { type: "state" }>): void {
    for (const follower of this.#channels.get(jobId)?.followers ?? []) follower.push(event, 0);
  }

  end(job: JobRecord): void {
    for (const follower of this.#channels.get(job.id)?.followers ?? []) follower.end({ type: "end", job });
    this.#channels.delete(job.id);
  }

  /** Somebody follows it. */
  has(jobId: string): boolean {
    return (this.#channels.get(jobId)?.followers.size ?? 0) > 0;
  }

  isSlow(jobId: string): boolean {
    return [...(this.#channels.get(jobId)?.followers ?? [])].some(({ isSlow }) => isSlow);
  }

  /** Their events end here. */
  close(): void {
    for (const { followers } of this.#channels.values()) for (const follower of followers) follower.close();
  }

  #channel(jobId: string): Channel {
    const channel = this.#channels.get(jobId) ?? { followers: new Set(), history: [], historyBytes: 0 };
    this.#channels.set(jobId, channel);
    return channel;
  }
}

interface FollowerCalls {
  onRoom: () => void;
  onLeave: (ended: boolean) => void;
}

/** Events on their way to one who takes them one by one. */
class Follower implements JobEvents {
  readonly #calls: FollowerCalls;
  #events: { event: JobEvent; bytes: number }[] = [];
  #bytes = 0;
  #wake: (() => void) | null = null;
  #state: "open" | "ended" | "closed" = "open";
  #overflown = false;
  isSlow = false;

  constructor(calls: FollowerCalls) {
    this.#calls = calls;
  }

  push(event: JobEvent, bytes: number): void {
    if (this.#state !== "open") return;
    if (this.#bytes + bytes > MOST_BYTES) this.#overflown = true;
    if (event.type === "chunk" && this.#overflown) return;
    this.#events.push({ event, bytes });
    this.#bytes += bytes;
    if (this.#bytes > SLOW_BYTES) this.isSlow = true;
    this.#wake?.();
  }

  end(event: Extract<JobEvent, { type: "end" }>): void {
    this.push(event, 0);
    this.#state = "ended";
  }

  close(): void {
    this.#state = "closed";
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<JobEvent, undefined>> {
    while (this.#events.length === 0 && this.#state === "open") {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
    const taken = this.#state === "closed" ? undefined : this.#events.shift();
    if (!taken) return this.return();
    this.#bytes -= taken.bytes;
    if (this.isSlow && this.#bytes <= SLOW_BYTES / 2) {
      this.isSlow = false;
      this.#calls.onRoom();
    }
    return { done: false, value: taken.event };
  }

  async return(): Promise<IteratorResult<JobEvent, undefined>> {
    const before = this.#state;
    this.close();
    this.isSlow = false;
    if (before !== "closed") this.#calls.onLeave(before === "ended");
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}

function isAfter(chunk: Place, after: Place | undefined): boolean {
  return !after || chunk.attempt > after.attempt || (chunk.attempt === after.attempt && chunk.cs > after.cs);
}
