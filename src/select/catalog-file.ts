import { readFile } from "node:fs/promises";
import type * as z from "zod";
import { MusterError } from "../errors.ts";
import { type CatalogProblem, catalogError, describeIssues, show } from "./catalog-error.ts";
import {
  type CatalogDocument,
  catalogSchema,
  type ModelEntry,
  overlaySchema,
  type WorkerTypeEntry,
} from "./catalog-schema.ts";

/** A file of the catalog as it was read: the catalog itself, or the overlay, which may leave parts out. */
export interface CatalogFile {
  file: string;
  text: string;
  value: Partial<CatalogDocument>;
}

/**
 * The catalog's files, the overlay last, each by itself of the right form, and all that is named there or in one before it.
 * Throws CATALOG_INVALID that names file, line, field, what was found and what is allowed.
 */
export async function readCatalogFiles(file: string, overlay: string | null): Promise<CatalogFile[]> {
  const base = await parseCatalogFile(file, await readText(file), catalogSchema);
  const files = overlay ? [base, await parseCatalogFile(overlay, await readText(overlay), overlaySchema)] : [base];
  await checkReferences(files);
  return files;
}

/** Entries of all the files, the later ones over the earlier. */
export function mergedEntries(files: readonly CatalogFile[]): Pick<CatalogDocument, "models" | "workerTypes"> {
  return {
    models: Object.assign({}, ...files.map(({ value }) => value.models)),
    workerTypes: Object.assign({}, ...files.map(({ value }) => value.workerTypes)),
  };
}

/** Throws CATALOG_INVALID where what one of the files names is nowhere. */
export async function checkReferences(files: readonly CatalogFile[]): Promise<void> {
  const { models, workerTypes } = mergedEntries(files);
  for (const { file, text, value } of files) {
    const problems = [
      ...takenNames(value.models ?? {}, models),
      ...danglingReferences(value.workerTypes ?? {}, models, workerTypes),
    ];
    if (problems.length > 0) throw await catalogError(file, text, problems);
  }
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new MusterError(
      "CATALOG_INVALID",
      `The catalog ${file} cannot be read (${(cause as NodeJS.ErrnoException).code}).`,
      {
        hint: "Correct WORKER_TYPES_FILE or WORKER_TYPES_OVERLAY, or mount the file there.",
        cause,
      },
    );
  }
}

/** A file's text as what it says. Throws CATALOG_INVALID. */
export async function parseCatalogFile(
  file: string,
  given: string,
  schema: z.ZodType<Partial<CatalogDocument>>,
): Promise<CatalogFile> {
  const text = given.replace(/^\uFEFF/, "");
  const json = parseJson(text);
  if (json === undefined) throw await catalogError(file, text, []);
  const result = schema.safeParse(json);
  if (!result.success) throw await catalogError(file, text, describeIssues(result.error.issues, json));
  return { file, text, value: result.data };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Jobs name adapters as they name models, so that a name means one thing. */
function takenNames(own: Record<string, ModelEntry>, models: Record<string, ModelEntry>): CatalogProblem[] {
  return Object.entries(own).flatMap(([modelId, model]) =>
    model.variants.flatMap(({ adapters }, at) =>
      adapters.flatMap(({ name }, index): CatalogProblem[] => {
        const isTaken =
          Object.hasOwn(models, name) ||
          adapters.findIndex((other) => other.name === name) < index ||
          Object.entries(models).some(
            ([id, { variants }]) =>
              id !== modelId && variants.some((variant) => variant.adapters.some((other) => other.name === name)),
          );
        const path = ["models", modelId, "variants", at, "adapters", index, "name"];
        return isTaken ? [{ path, found: show(name), allowed: "a name that no other model or adapter has" }] : [];
      }),
    ),
  );
}

function danglingReferences(
  own: Record<string, WorkerTypeEntry>,
  models: Record<string, ModelEntry>,
  workerTypes: Record<string, WorkerTypeEntry>,
): CatalogProblem[] {
  const problems: CatalogProblem[] = [];
  for (const [typeId, type] of Object.entries(own)) {
    for (const [index, reference] of type.models.entries()) {
      const id = typeof reference === "string" ? reference : reference.model;
      if (Object.hasOwn(models, id)) continue;
      const path = ["workerTypes", typeId, "models", index, ...(typeof reference === "string" ? [] : ["model"])];
      problems.push({ path, found: show(id), allowed: `a model of the catalog: ${Object.keys(models).join(", ")}` });
    }
    const chain = [typeId];
    for (let next = type.fallback; next !== undefined; next = workerTypes[next]?.fallback) {
      const path = ["workerTypes", typeId, "fallback"];
      if (!Object.hasOwn(workerTypes, next)) {
        problems.push({
          path,
          found: show(next),
          allowed: `a worker type of the catalog: ${Object.keys(workerTypes).join(", ")}`,
        });
        break;
      }
      if (chain.includes(next)) {
        problems.push({ path, found: show([...chain, next].join(" → ")), allowed: "a chain of fallbacks that ends" });
        break;
      }
      chain.push(next);
    }
  }
  return problems;
}
