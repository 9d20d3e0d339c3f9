import type { ModelSpec } from "../../model.ts";

/** A model of this worker and the folder on the volume that an engine may have been started with. */
export interface Wanted {
  spec: Pick<ModelSpec, "id" | "variant" | "runTime">;
  path: string | null;
}

/**
 * By which of its names an engine serves each model; models that it does not serve are left out. `listed`: what it says
 * it serves. A single name of its own (an alias) is taken for the one model that has no other; never for one that was asked
 * for at run time, because nobody started the engine for that.
 */
export function servedNames(wanted: readonly Wanted[], listed: readonly string[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const { spec, path } of wanted) {
    const name = listed.find((each) => [spec.id, spec.variant.location, path].includes(each.replace(/\/+$/, "")));
    if (name !== undefined) found.set(spec.id, name);
  }
  const nameless = wanted.filter(({ spec }) => !found.has(spec.id) && !spec.runTime);
  const [only] = listed;
  if (listed.length === 1 && only !== undefined && nameless.length === 1 && found.size === 0) {
    found.set(nameless[0]!.spec.id, only);
  }
  return found;
}
