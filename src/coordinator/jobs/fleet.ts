import type { Slots } from "../../job.ts";
import { JOB_KINDS, type JobKind } from "../../model.ts";
import type { ModelReport } from "../../protocol.ts";
import type { WorkerView } from "../workers/worker-view.ts";
import { laneOf, type QueuedJob } from "./job-queue.ts";

type View = Pick<WorkerView, "connected" | "ready" | "slots" | "models">;

interface Member {
  id: string;
  /** What all of the following was made from. */
  seen: View | null;
  slots: Slots;
  /** Models that are ready, by each of their names. */
  ready: Map<string, string>;
  /** One model, whatever its names. */
  hasOne: boolean;
  /** By its own last word, less what it has accepted since. */
  told: Slots;
  /** Offers that it has not answered. */
  pending: Slots;
  /** The model of its last job: that one is in the memory of its card, whatever its engine keeps of the others. */
  lastModel: string | null;
  offeredAt: number;
  /** Lanes of which it has turned a job down, and until when that counts. */
  declined: Map<string, number>;
  /** Lanes of which its engine could not do a job, for how long it gets none of them since, and until when. */
  faltering: Map<string, { ms: number; until: number }>;
}

/** A worker whose engine could not do a job gets no other of its lane for so long, twice as long each time, until one is done. */
const FALTERING_MS = { least: 1_000, most: 30_000 };

/** A worker that has turned a job down is not offered such jobs again before, unless it says that it has room. */
const DECLINED_MS = 1_000;

/** Of more workers than these, those that have waited longest are compared: who is the best of thousands matters to nobody. */
const MOST_COMPARED = 128;

/** The names under which jobs ask for a model: its id, what its source calls it, and Ollama's short form of that. */
export function namesOf({ model, location, source }: Pick<ModelReport, "model" | "location" | "source">): string[] {
  const short = source === "ollama" && location.endsWith(":latest") ? [location.slice(0, -":latest".length)] : [];
  return [...new Set([model, location, ...short])];
}

/** Which workers would take which jobs now: those that are ready, have the model ready, and have credit left. */
export class Fleet {
  readonly #members = new Map<string, Member>();
  /** Workers that would take a job, by lane. */
  readonly #open = new Map<string, Set<Member>>();

  /** False where that is how it was known. */
  update(id: string, view: View | null): boolean {
    const member = this.#member(id);
    // Most beats of ten thousand workers tell nothing new.
    if (isSame(member.seen, view)) return false;
    member.seen = view && { connected: view.connected, ready: view.ready, slots: view.slots, models: view.models };
    this.#close(member);
    const models = view?.connected && view.ready ? view.models.filter(({ state }) => state === "ready") : [];
    member.ready = new Map(models.flatMap((model) => namesOf(model).map((name) => [name, model.model])));
    member.hasOne = new Set(member.ready.values()).size === 1;
    member.slots = view?.slots ?? {};
    // What comes back has another engine, or the same one started anew.
    const lanes = new Set(
      JOB_KINDS.flatMap((kind) => [...member.ready.keys()].map((model) => laneOf({ kind, model }))),
    );
    for (const lane of member.faltering.keys()) if (!lanes.has(lane)) member.faltering.delete(lane);
    this.#reopen(member, JOB_KINDS);
    return true;
  }

  /** A session begins, or has ended: nothing is known of its credit. */
  reset(id: string): void {
    const member = this.#member(id);
    this.#close(member);
    Object.assign(member, { told: {}, pending: {}, declined: new Map(), faltering: new Map() });
  }

  remove(id: string): void {
    const member = this.#members.get(id);
    if (member) this.#close(member);
    this.#members.delete(id);
  }

  /** Those of which this does not hold are gone. */
  keep(isKnown: (id: string) => boolean): void {
    for (const id of this.#members.keys()) if (!isKnown(id)) this.remove(id);
  }

  credit(id: string, kind: JobKind, n: number): void {
    const member = this.#member(id);
    member.told[kind] = n;
    for (const lane of member.declined.keys()) if (lane.startsWith(`${kind} `)) member.declined.delete(lane);
    this.#reopen(member, [kind]);
  }

  offered(id: string, { kind, model }: QueuedJob): void {
    const member = this.#member(id);
    member.pending[kind] = (member.pending[kind] ?? 0) + 1;
    member.lastModel = member.ready.get(model) ?? member.lastModel;
    member.offeredAt = performance.now();
    this.#reopen(member, [kind]);
  }

  /** It has answered an offer, or will not. */
  answered(id: string, { kind, lane }: QueuedJob, answer: "accepted" | "declined" | "none"): void {
    const member = this.#member(id);
    member.pending[kind] = Math.max(0, (member.pending[kind] ?? 0) - 1);
    if (answer === "accepted") member.told[kind] = Math.max(0, (member.told[kind] ?? 0) - 1);
    if (answer === "declined") member.declined.set(lane, performance.now() + DECLINED_MS);
    this.#reopen(member, [kind]);
  }

  /** Its engine could not do the job, which is no fault of the job. */
  faltered(id: string, { lane }: QueuedJob): void {
    const { faltering } = this.#member(id);
    const now = performance.now();
    const before = faltering.get(lane);
    // Jobs that fail side by side are one failure.
    if (before && before.until > now) return;
    const ms = before ? Math.min(2 * before.ms, FALTERING_MS.most) : FALTERING_MS.least;
    faltering.set(lane, { ms, until: now + ms });
  }

  /** It has done the job. */
  worked(id: string, { lane }: QueuedJob): void {
    this.#members.get(id)?.faltering.delete(lane);
  }

  /** Who should have the next job of the lane: where the model is warm, then who has most of its slots free. */
  best(lane: string, { kind, model }: QueuedJob): string | null {
    const now = performance.now();
    let best: { id: string; rank: [number, number, number] } | null = null;
    let left = MOST_COMPARED;
    for (const member of this.#open.get(lane) ?? []) {
      if (left-- === 0) break;
      if (isHeld(member, lane, now)) continue;
      const free = freeOf(member, kind);
      const id = member.ready.get(model);
      const isWarm = member.lastModel === id || member.hasOne;
      const rank: [number, number, number] = [
        isWarm ? 0 : 1,
        -free / Math.max(free, member.slots[kind] ?? 0),
        member.offeredAt,
      ];
      if (!best || isBefore(rank, best.rank)) best = { id: member.id, rank };
    }
    return best?.id ?? null;
  }

  /** Lanes of which somebody would take a job. */
  openLanes(): string[] {
    return [...this.#open.keys()];
  }

  /** How many jobs of the lane would be taken now. */
  roomFor(lane: string, kind: JobKind): number {
    const now = performance.now();
    const members = [...(this.#open.get(lane) ?? [])].filter((member) => !isHeld(member, lane, now));
    return members.reduce((sum, member) => sum + freeOf(member, kind), 0);
  }

  /** Lanes of which this worker would take a job. */
  lanesOf(id: string): string[] {
    const member = this.#members.get(id);
    if (!member) return [];
    return JOB_KINDS.filter((kind) => freeOf(member, kind) > 0).flatMap((kind) =>
      [...member.ready.keys()].map((model) => laneOf({ kind, model })),
    );
  }

  #member(id: string): Member {
    let member = this.#members.get(id);
    if (!member) {
      member = {
        id,
        seen: null,
        slots: {},
        ready: new Map(),
        hasOne: false,
        told: {},
        pending: {},
        lastModel: null,
        offeredAt: 0,
        declined: new Map(),
        faltering: new Map(),
      };
      this.#members.set(id, member);
    }
    return member;
  }

  #reopen(member: Member, kinds: readonly JobKind[]): void {
    for (const kind of kinds) {
      const isOpen = freeOf(member, kind) > 0;
      for (const model of member.ready.keys()) this.#set(laneOf({ kind, model }), member, isOpen);
    }
  }

  #close(member: Member): void {
    for (const kind of JOB_KINDS)
      for (const model of member.ready.keys()) this.#set(laneOf({ kind, model }), member, false);
  }

  #set(lane: string, member: Member, isOpen: boolean): void {
    const open = this.#open.get(lane);
    // To the end: those at the beginning have waited longest.
    open?.delete(member);
    if (isOpen) this.#open.set(lane, (open ?? new Set()).add(member));
    else if (open?.size === 0) this.#open.delete(lane);
  }
}

function isSame(a: View | null, b: View | null): boolean {
  if (a === null || b === null) return a === b;
  return a.connected === b.connected && a.ready === b.ready && a.slots === b.slots && a.models === b.models;
}

function isHeld({ declined, faltering }: Member, lane: string, now: number): boolean {
  return Math.max(declined.get(lane) ?? 0, faltering.get(lane)?.until ?? 0) > now;
}

function freeOf({ told, pending }: Member, kind: JobKind): number {
  return Math.max(0, (told[kind] ?? 0) - (pending[kind] ?? 0));
}

function isBefore(a: readonly number[], b: readonly number[]): boolean {
  const at = a.findIndex((value, index) => value !== b[index]);
  return at >= 0 && a[at]! < b[at]!;
}
