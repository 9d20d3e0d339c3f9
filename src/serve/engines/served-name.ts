import type { ModelSpec } from "../../model.ts";

/** A model of this worker and the folder on the volume that an engine may have been started with. */
export interface Wanted {
  spec: Pick<ModelSpec, "id" | "variant">;
  path: string | null;
}

/**
 * By which of its names an engine serves each model; models that it does not serve are left out. `listed`: what it says
 * it serves, null where it does not say. A single name of its own (an alias) is taken for the one model that has no other.
 */
export function servedNames(wanted: readonly Wanted[], listed: readonly string[] | null): Map<string, string> {
  if (listed === null) return new Map(wanted.map(({ spec }) => [spec.id, spec.variant.location]));
  const found = new Map<string, string>();
  for (const { spec, path } of wanted) {
    const name = listed.find((each) => [spec.id, spec.variant.location, path].includes(each.replace(/\/+$/, "")));
    if (name !== undefined) found.set(spec.id, name);
  }
  const nameless = wanted.filter(({ spec }) => !found.has(spec.id));
  const [only] = listed;
  if (listed.length === 1 && only !== undefined && nameless.length === 1 && found.size === 0) {
    found.set(nameless[0]!.spec.id, only);
  }
  return found;
}
