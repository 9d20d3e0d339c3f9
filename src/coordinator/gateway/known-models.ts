import type { JobKind } from "../../model.ts";
import { namesOf } from "../jobs/fleet.ts";
import type { WorkerView } from "../workers/worker-view.ts";

/** What the fleet has under one name. */
export interface KnownModel {
  /** What workers know it by: the name itself, unless it is one that the model was asked for by. */
  model: string;
  /** Every name of every model that goes by this one. */
  names: Set<string>;
  /** Kinds of jobs that its workers have slots for. */
  kinds: Set<JobKind>;
}

/** What was seen counts for so long: a job for a model that has gone since then waits, as it would have a moment before. */
const COUNTS_MS = 1_000;

/** The models of the workers by all their names: looked up for each job, and made from ten thousand workers now and then. */
export class KnownModels {
  readonly #list: () => readonly WorkerView[];
  #models = new Map<string, KnownModel>();
  #lookedAt = Number.NEGATIVE_INFINITY;
  #workers = 0;

  constructor(list: () => readonly WorkerView[]) {
    this.#list = list;
  }

  /** Null where no worker has it; what is not known, or not enough for whoever asks, is looked for anew. */
  find(name: string, isEnough: (known: KnownModel) => boolean = () => true): KnownModel | null {
    const isFresh = performance.now() - this.#lookedAt < COUNTS_MS;
    const known = this.#models.get(name);
    if (!isFresh || !known || !isEnough(known)) this.#look();
    return this.#models.get(name) ?? null;
  }

  /** Workers there were when this looked last. */
  get workers(): number {
    return this.#workers;
  }

  #look(): void {
    const workers = this.#list();
    this.#workers = workers.length;
    this.#lookedAt = performance.now();
    this.#models = new Map();
    for (const { models, slots } of workers) {
      for (const report of models) {
        const names = namesOf(report);
        for (const name of names) this.#add(name, { model: name, names, slots });
        for (const name of report.asked ?? [])
          if (!names.includes(name)) this.#add(name, { model: report.model, names, slots });
      }
    }
  }

  #add(name: string, { model, names, slots }: { model: string; names: string[]; slots: WorkerView["slots"] }): void {
    const known = this.#models.get(name) ?? { model, names: new Set(), kinds: new Set() };
    for (const each of names) known.names.add(each);
    for (const [kind, count] of Object.entries(slots)) if (count > 0) known.kinds.add(kind as JobKind);
    this.#models.set(name, known);
  }
}
