import { type ContentPolicy, NO_CONTENT_POLICY } from "../content-policy.ts";
import { lineFinder } from "./catalog-error.ts";
import type { CatalogFile } from "./catalog-file.ts";
import { checkModel } from "./check-model.ts";
import { checkPolicy } from "./check-policy.ts";
import { checkWorkerType } from "./check-worker-type.ts";
import { duplicateFields } from "./duplicate-fields.ts";
import type { Finding } from "./finding.ts";
import { linkCatalog } from "./worker-types.ts";

/** A finding with the place where an editor finds it. */
export interface PlacedFinding extends Finding {
  file: string;
  /** From 1. */
  line: number;
}

/** What can never work, or is odd, in a catalog whose files are of the right form. Asks nobody. */
export async function catalogFindings(
  files: readonly CatalogFile[],
  policy: ContentPolicy = NO_CONTENT_POLICY,
): Promise<PlacedFinding[]> {
  const catalog = linkCatalog(files);
  const found: PlacedFinding[] = [];
  for (const [index, { file, text, value }] of files.entries()) {
    const later = files.slice(index + 1);
    // What a later file says in place of this one is checked there.
    const own = <T>(entries: Record<string, T> | undefined, isLater: (id: string) => boolean) =>
      Object.entries(entries ?? {}).filter(([id]) => !isLater(id));
    const models = own(value.models, (id) => later.some((other) => Object.hasOwn(other.value.models ?? {}, id)));
    const types = own(value.workerTypes, (id) =>
      later.some((other) => Object.hasOwn(other.value.workerTypes ?? {}, id)),
    );
    const findings = [
      ...(await duplicateFields(text)),
      ...models.flatMap(([id, entry]) => checkModel(catalog.models.get(id)!, entry.variants, catalog)),
      ...models.flatMap(([id]) => checkPolicy(catalog.models.get(id)!, policy)),
      ...types.flatMap(([id]) => checkWorkerType(catalog.workerTypes.get(id)!)),
    ];
    const lineAt = await lineFinder(text);
    found.push(...findings.map((finding) => ({ ...finding, file, line: finding.line ?? lineAt(finding.path) })));
  }
  return found;
}
