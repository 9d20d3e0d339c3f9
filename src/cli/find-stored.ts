import { MusterError } from "../errors.ts";
import type { StoredModel } from "../model.ts";
import type { CatalogUse } from "./catalog-models.ts";

/**
 * The records that a name means: the catalog's id of a model, its name at the source (also as `source:name`, or
 * `name@revision`), or a record's key. A revision that is kept beside the model's goes by itself only. Throws MODEL_UNKNOWN.
 */
export function findStored<T extends { model: StoredModel }>(
  name: string,
  stored: readonly T[],
  uses: ReadonlyMap<string, CatalogUse>,
): T[] {
  const found = stored.filter(({ model }) => isNamed(name, model, uses));
  if (found.length > 0) return found;
  const known = [...new Set(stored.map(({ model }) => model.location))].toSorted().join(", ");
  throw new MusterError("MODEL_UNKNOWN", `The volume has no model ${JSON.stringify(name)}.`, {
    hint: `\`muster list\` shows what it has: ${known || "nothing"}.`,
  });
}

/** Several names, each record once. */
export function findAllStored<T extends { model: StoredModel }>(
  names: readonly string[],
  stored: readonly T[],
  uses: ReadonlyMap<string, CatalogUse>,
): T[] {
  return [...new Set(names.flatMap((name) => findStored(name, stored, uses)))];
}

/** Where everything is meant, and nothing is there. */
export function nothingStored(): MusterError {
  return new MusterError("MODEL_UNKNOWN", "The volume has no models.", {
    hint: "`muster list` shows what it has; is MODEL_CACHE_DIR the folder that is meant?",
  });
}

/** Whether a name means this record. */
export function isNamed(name: string, model: StoredModel, uses: ReadonlyMap<string, CatalogUse>): boolean {
  return namesOf(model, uses).includes(name);
}

function namesOf(model: StoredModel, uses: ReadonlyMap<string, CatalogUse>): string[] {
  const { key, source, location, requestedRevision, revision, kept } = model;
  const revisions = [...(kept ? [] : [requestedRevision]), revision, revision.slice(0, 12)];
  const full = [...(kept ? [] : [location]), ...revisions.map((each) => `${location}@${each}`)];
  return [key, ...full, ...full.map((each) => `${source}:${each}`), ...(uses.get(key)?.models ?? [])];
}
