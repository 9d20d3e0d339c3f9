import type { ModelSpec } from "../../model.ts";

/** A model of this worker and the folder on the volume that an engine may have been started with. */
export interface Wanted {
  spec: Pick<ModelSpec, "id" | "variant" | "adapterOf" | "runTime">;
  path: string | null;
}

/**
 * By which of its names an engine serves each model; models that it does not serve are left out. `listed`: what it says
 * it serves, null where it does not say. A single name of its own (an alias), beside those of adapters, is taken for the
 * one model that has no other; never for one that was asked for at run time, because nobody started the engine for that.
 */
export function servedNames(wanted: readonly Wanted[], listed: readonly string[] | null): Map<string, string> {
  if (listed === null) return new Map(wanted.map(({ spec }) => [spec.id, usualName(spec)]));
  const found = new Map<string, string>();
  for (const { spec, path } of wanted) {
    const name = listed.find((each) => [spec.id, spec.variant.location, path].includes(each.replace(/\/+$/, "")));
    if (name !== undefined) found.set(spec.id, name);
  }
  const models = wanted.filter(({ spec }) => spec.adapterOf === null && !spec.runTime);
  const ofOthers = wanted
    .filter(({ spec }) => spec.adapterOf !== null || spec.runTime)
    .map(({ spec }) => found.get(spec.id));
  const [only, ...others] = listed.filter((name) => !ofOthers.includes(name));
  const nameless = models.filter(({ spec }) => !found.has(spec.id));
  const isAlias = others.length === 0 && nameless.length === 1 && nameless.length === models.length;
  if (only !== undefined && isAlias) found.set(nameless[0]!.spec.id, only);
  return found;
}

/** Engines are told the ids of adapters, and know models by their names at their sources. */
export function usualName({ id, variant, adapterOf }: Wanted["spec"]): string {
  return adapterOf === null ? variant.location : id;
}
