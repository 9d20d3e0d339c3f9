import type { StoredModel, Variant } from "../model.ts";
import { hasSize } from "../store/has-size.ts";
import { filesToFetch } from "../store/manifest.ts";
import { storeOf } from "../store/model-store.ts";
import { partialBytes } from "../store/partial-file.ts";
import { askSource, describe } from "./describe.ts";
import { findContent } from "./known-content.ts";
import { describedPlan, type FilePlan } from "./store-plan.ts";
import type { SyncContext } from "./sync-context.ts";

/** A revision at its source, held against the one of a record. */
export interface Latest {
  plan: FilePlan;
  /** Paths whose content is another, or new. */
  changed: string[];
  /** Paths that the record has and this revision has not. */
  gone: string[];
  /** Of the files that the volume does not have under any name; null where a server keeps the model, which does not tell. */
  bytesToFetch: number | null;
}

/** Asks the source what the variant is now. Fetches no weights. Throws MusterError. */
export async function askLatest(record: StoredModel, variant: Variant, context: SyncContext): Promise<Latest> {
  if (context.servers?.[variant.source]) {
    // The server knows what it has; only the registry knows what there is.
    const description = await askSource(variant, { ...context, servers: {} });
    return { plan: describedPlan({ variant }, description, context), changed: [], gone: [], bytesToFetch: null };
  }
  const plan = describedPlan({ variant }, await describe(variant, context), context);
  const before = new Map(filesToFetch(record).map(({ path, digest }) => [path, digest.hex]));
  const changed = plan.files.filter(({ path, digest }) => before.get(path) !== digest.hex).map(({ path }) => path);
  const now = new Set(plan.files.map(({ path }) => path));
  const gone = [...before.keys()].filter((path) => !now.has(path));
  return { plan, changed, gone, bytesToFetch: await missing(plan, variant, context) };
}

async function missing({ revision, files }: FilePlan, variant: Variant, { layout }: SyncContext): Promise<number> {
  const store = storeOf(layout, variant.source);
  const model = { location: variant.location, requestedRevision: variant.revision, revision };
  const contents = [...new Map(files.map((file) => [file.digest.hex, file])).values()];
  const known = await findContent(layout, contents);
  const counts = await Promise.all(
    contents.map(async (file) => {
      const { digest, size } = file;
      if (known.has(digest.hex) || (await hasSize(store.blob(model, file), size))) return 0;
      return size - partialBytes(store.ingest(variant.location), digest, size);
    }),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}
