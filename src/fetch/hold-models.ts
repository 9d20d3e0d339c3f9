import type { ModelSpec, Variant } from "../model.ts";
import { type HeldModels, OwnHold } from "../store/holds.ts";
import type { Layout } from "../store/layout.ts";
import { manifestKey } from "../store/manifest.ts";
import { storeOf } from "../store/model-store.ts";
import type { ModelKeeper } from "./keep-models.ts";

export interface HolderOptions {
  layout: Layout;
  /** The worker's id, or the command. */
  name: string;
  workerType: string | null;
  /** What it could choose as well. */
  catalog?: readonly Variant[];
}

/** Keeps models from being removed, by whichever host, for as long as this process lives and does not dispose of it. */
export class ModelsHold implements AsyncDisposable {
  readonly #hold: OwnHold;
  readonly #layout: Layout;
  readonly #specs: Map<string, ModelSpec>;
  readonly #catalog: string[];

  constructor(hold: OwnHold, specs: readonly ModelSpec[], { layout, catalog = [] }: HolderOptions) {
    this.#hold = hold;
    this.#layout = layout;
    this.#specs = new Map(specs.map((spec) => [spec.id, spec]));
    this.#catalog = keysOf(catalog);
  }

  /** Settles when that is on the volume. */
  add(spec: ModelSpec): Promise<void> {
    this.#specs.set(spec.id, spec);
    return this.#write();
  }

  remove(id: string): Promise<void> {
    this.#specs.delete(id);
    return this.#write();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#hold[Symbol.asyncDispose]();
  }

  #write(): Promise<void> {
    return this.#hold.change(held([...this.#specs.values()], this.#layout, this.#catalog));
  }
}

export async function holdModels(specs: readonly ModelSpec[], options: HolderOptions): Promise<ModelsHold> {
  const { layout, name, workerType, catalog = [] } = options;
  const hold = await OwnHold.take(layout, { name, workerType, ...held(specs, layout, keysOf(catalog)) });
  return new ModelsHold(hold, specs, options);
}

/** A keeper whose models are held as long as they are kept: before the first look at the volume. */
export function heldKeeper(keeper: ModelKeeper, hold: ModelsHold): ModelKeeper {
  let adding = Promise.resolve();
  return {
    sync: (id) => keeper.sync(id),
    keep(spec) {
      adding = adding.then(() => hold.add(spec)).then(() => keeper.keep(spec));
    },
    async letGo(id) {
      await adding;
      await keeper.letGo(id);
      await hold.remove(id);
    },
    ended: keeper.ended,
  };
}

function held(specs: readonly ModelSpec[], layout: Layout, catalog: string[]): HeldModels {
  const models = specs.map(({ variant }) => ({
    key: manifestKey(variant),
    lease: storeOf(layout, variant.source).leaseName(variant.location),
  }));
  return { models, catalog };
}

function keysOf(variants: readonly Variant[]): string[] {
  const all = variants.flatMap((variant) => [variant, ...variant.adapters.map((adapter) => adapter.variant)]);
  return [...new Set(all.map(manifestKey))];
}
