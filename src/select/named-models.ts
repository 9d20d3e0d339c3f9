import { type Engine, plainVariant, type Task, type Variant } from "../model.ts";
import { type NamedSource, parseReference, showReference } from "../model-reference.ts";
import type { Catalog, CatalogModel } from "./worker-types.ts";

/** What a catalog says of each model, for one that no catalog has. */
export interface Undeclared {
  task?: Task;
  engine?: Engine;
}

/**
 * The model of that name: the catalog's of that id, or of that location at its source; else the one that a reference
 * names, in that single variant, as the catalog declares it where it does. Null where the name says nothing.
 */
export function namedModel(name: string, catalog: Catalog, undeclared: Undeclared = {}): CatalogModel | null {
  const known = catalogModel(name, catalog);
  if (known) return known;
  const named = parseReference(name);
  return named && modelOf(named, catalog, undeclared);
}

export function catalogModel(name: string, catalog: Catalog): CatalogModel | null {
  const models = [...catalog.models.values()];
  return (
    catalog.models.get(name) ??
    models.find(({ variants }) => variants.some(({ location }) => location === name)) ??
    null
  );
}

/** Whether a variant of the catalog is just that. */
export function isInCatalog(named: NamedSource, catalog: Catalog): boolean {
  return declared(named, catalog) !== null;
}

/** Whether a reference means what this variant is. */
export function isNamed({ source, location, revision }: Variant, named: NamedSource): boolean {
  const short = source === "ollama" ? location.replace(/:latest$/, "") : location;
  return source === named.source && short === named.location && revision === named.revision;
}

function declared(named: NamedSource, catalog: Catalog) {
  for (const model of catalog.models.values()) {
    const variant = model.variants.find((each) => isNamed(each, named));
    if (variant) return { model, variant };
  }
  return null;
}

function modelOf(named: NamedSource, catalog: Catalog, { task, engine }: Undeclared): CatalogModel {
  const id = showReference(named);
  const known = declared(named, catalog);
  if (known) return { ...known.model, id, variants: [known.variant] };
  const { source, location, revision } = named;
  const variant = plainVariant({ id, source, location, revision, ...(engine && { engine }) });
  return {
    id,
    task: task ?? "chat",
    license: null,
    gated: false,
    contextLength: null,
    prompts: {},
    variants: [variant],
  };
}
