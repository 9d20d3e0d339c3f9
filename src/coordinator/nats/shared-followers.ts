import type { Subscription } from "@nats-io/transport-node";
import type { Logger } from "../../log.ts";
import { Followers, type FollowOptions } from "../jobs/followers.ts";
import type { JobRecord } from "../jobs/job-record.ts";
import type { JobEvent, JobEvents } from "../jobs/jobs.ts";
import { isUnavailable } from "../stores/unavailable.ts";
import { listen, tellAll } from "./bus.ts";
import type { NatsLink } from "./link.ts";

type Chunk = Extract<JobEvent, { type: "chunk" }>;
type State = Extract<JobEvent, { type: "state" }>;
/** `end` brings nothing: the store has it. */
type Told = (Chunk & { bytes: number }) | State | { type: "end" };

interface Slow {
  id: string;
  gateway: string;
  slow: boolean;
}

interface Followed {
  events: Subscription;
  places: Subscription;
  /** The next chunk; null until the first has come. A gap in an attempt ends its chunks. */
  place: { attempt: number; cs: number } | null;
  /** Others were told that somebody here reads slowly. */
  slow: boolean;
  lookedAt: number;
}

export interface SharedFollowersOptions {
  link: NatsLink;
  gateway: string;
  /** Who was slow with a job that is at a worker here is not any more. */
  onRoom: (jobId: string) => void;
  /** Null while the job has not ended. */
  ended: (jobId: string) => Promise<JobRecord | null>;
  log: Logger;
}

/** A gateway that was slow and says nothing more is taken for gone. */
const SLOW_MS = 5_000;
const SAY_SLOW_MS = 1_000;
/** How often it is looked whether a job has ended of which nothing was heard. */
const LOOK_MS = 10_000;
const PLACE_MS = 500;

/** Followers at whichever gateway: events go from where the worker is to where they are. */
export class SharedFollowers {
  readonly #options: SharedFollowersOptions;
  readonly #local: Followers;
  readonly #followed = new Map<string, Followed>();
  /** Until when other gateways count as slow, by job. */
  readonly #slow = new Map<string, Map<string, number>>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: SharedFollowersOptions) {
    this.#options = options;
    const { link, gateway } = options;
    this.#local = new Followers((jobId) => {
      this.#saySlow(jobId);
      options.onRoom(jobId);
    });
    listen<Slow>(link, link.names.everyone("slow"), (said) => this.#hearSlow(said));
    link.onUp(() => this.#look(0));
    this.#timer = setInterval(() => {
      for (const [id, { slow }] of this.#followed)
        if (slow) link.tell(link.names.everyone("slow"), { id, gateway, slow } satisfies Slow);
    }, SAY_SLOW_MS);
  }

  /** Events are heard from now on; to be followed by {@link follow}, or {@link unlisten}. `fresh`: from the first chunk on. */
  async listen(jobId: string, { fresh }: { fresh: boolean }): Promise<void> {
    if (this.#followed.has(jobId)) return;
    const { link } = this.#options;
    const followed: Followed = {
      events: listen<Told>(link, link.names.followers(jobId, "event"), (told) => this.#hear(jobId, told)),
      places: listen(link, link.names.followers(jobId, "place"), (_data, message) =>
        message.respond(JSON.stringify(followed.place)),
      ),
      ...{ place: fresh ? { attempt: 0, cs: 0 } : null, slow: false, lookedAt: performance.now() },
    };
    this.#followed.set(jobId, followed);
    await link.ask(() => link.connection.flush());
  }

  follow(jobId: string, first: JobEvent, options: FollowOptions = {}): JobEvents {
    return this.#local.follow(jobId, first, {
      ...options,
      onLeave: (ended) => {
        if (!this.#local.has(jobId)) this.unlisten(jobId);
        options.onLeave?.(ended);
      },
    });
  }

  unlisten(jobId: string): void {
    const followed = this.#followed.get(jobId);
    this.#followed.delete(jobId);
    followed?.events.unsubscribe();
    followed?.places.unsubscribe();
  }

  /** Somebody here follows it. */
  has(jobId: string): boolean {
    return this.#local.has(jobId);
  }

  /** The next chunk that those who follow the job lack. */
  async placeOf(jobId: string, attempt: number): Promise<number> {
    const { link } = this.#options;
    const here = this.#followed.get(jobId);
    const subject = link.names.followers(jobId, "place");
    const ask = () => link.connection.request(subject, "{}", { timeout: PLACE_MS });
    // Nobody follows it, or they have gone.
    const there = here ? null : await ask().catch(() => null);
    const place = here ? here.place : there?.json<Followed["place"]>();
    return place?.attempt === attempt ? place.cs : 0;
  }

  /** From a worker here. */
  chunk(jobId: string, chunk: Chunk, { bytes, keep }: { bytes: number; keep: boolean }): void {
    const { link } = this.#options;
    const followed = this.#followed.get(jobId);
    tellAll(link, link.names.followers(jobId, "event"), { ...chunk, bytes } satisfies Told);
    if (!followed || isNext(followed, chunk)) this.#local.chunk(jobId, chunk, { bytes, keep });
  }

  state(jobId: string, event: State): void {
    const { link } = this.#options;
    this.#local.state(jobId, event);
    link.tell(link.names.followers(jobId, "event"), event satisfies Told);
  }

  /** It was ended here. */
  end(job: JobRecord): void {
    const { link } = this.#options;
    link.tell(link.names.followers(job.id, "event"), { type: "end" } satisfies Told);
    this.#slow.delete(job.id);
    this.#finish(job);
  }

  isSlow(jobId: string): boolean {
    const now = performance.now();
    return this.#local.isSlow(jobId) || [...(this.#slow.get(jobId)?.values() ?? [])].some((until) => until > now);
  }

  /** To be called often. */
  sweep(): void {
    this.#look(LOOK_MS);
    const now = performance.now();
    for (const [id, gateways] of this.#slow) {
      if ([...gateways.values()].some((until) => until > now)) continue;
      this.#slow.delete(id);
      this.#options.onRoom(id);
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.#local.close();
    for (const id of [...this.#followed.keys()]) this.unlisten(id);
  }

  #hear(jobId: string, told: Told): void {
    const followed = this.#followed.get(jobId);
    if (!followed) return;
    if (told.type === "state") this.#local.state(jobId, told);
    else if (told.type === "end") this.#lookAt(jobId);
    else {
      const { bytes, ...chunk } = told;
      if (isNext(followed, chunk)) this.#local.chunk(jobId, chunk, { bytes, keep: false });
      this.#saySlow(jobId);
    }
  }

  #saySlow(jobId: string): void {
    const { link, gateway } = this.#options;
    const followed = this.#followed.get(jobId);
    const slow = this.#local.isSlow(jobId);
    if (!followed || followed.slow === slow) return;
    followed.slow = slow;
    link.tell(link.names.everyone("slow"), { id: jobId, gateway, slow } satisfies Slow);
  }

  #hearSlow({ id, gateway, slow }: Slow): void {
    const gateways = this.#slow.get(id) ?? new Map<string, number>();
    if (slow) this.#slow.set(id, gateways.set(gateway, performance.now() + SLOW_MS));
    else if (gateways.delete(gateway)) {
      if (gateways.size === 0) this.#slow.delete(id);
      this.#options.onRoom(id);
    }
  }

  /** The word of its end may have been lost. */
  #look(afterMs: number): void {
    const now = performance.now();
    for (const [id, followed] of this.#followed) if (now - followed.lookedAt >= afterMs) this.#lookAt(id);
  }

  #lookAt(jobId: string): void {
    const followed = this.#followed.get(jobId);
    if (followed) followed.lookedAt = performance.now();
    this.#options.ended(jobId).then(
      (job) => job && this.#finish(job),
      (error: unknown) => {
        if (!isUnavailable(error)) this.#options.log.error({ err: error, jobId }, "The end of a job could not be read");
      },
    );
  }

  #finish(job: JobRecord): void {
    this.#local.end(job);
    this.unlisten(job.id);
  }
}

/** Takes note of the chunk; false where it is known, or one before it was lost. */
function isNext(followed: Followed, { attempt, cs }: Chunk): boolean {
  const { place } = followed;
  const expected = place && place.attempt >= attempt ? place : { attempt, cs: place ? 0 : cs };
  if (expected.attempt !== attempt || cs !== expected.cs) return false;
  followed.place = { attempt, cs: cs + 1 };
  return true;
}
