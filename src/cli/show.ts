import { join } from "node:path";
import { isPickle } from "../fetch/choose-files.ts";
import { bytes } from "../fetch/progress-log.ts";
import { hasSize } from "../store/has-size.ts";
import { type InventoryEntry, takeInventory } from "../store/inventory.ts";
import { createLayout, type Layout } from "../store/layout.ts";
import { hasLocalDir } from "../store/local-dirs.ts";
import { type CatalogUse, catalogIfReadable, catalogUses } from "./catalog-models.ts";
import { findStored } from "./find-stored.ts";
import { describe } from "./list.ts";
import { print, table } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";
import { when } from "./volume-words.ts";

/** `muster show MODEL`: all that is known of a model on the volume, file by file. */
export async function show(name: string, options: GlobalOptions): Promise<number> {
  const { config, log } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const layout = createLayout(config.modelCacheDir, config.hfHubCache, config.ollamaModels);
  const uses = catalogUses(await catalogIfReadable(config, log));
  const entries = await takeInventory(layout);
  const found = findStored(name, entries, uses);
  const models = await Promise.all(
    found.map((entry) => inDetail(entry, uses.get(entry.model.key), { entries, layout })),
  );
  print({ models }, options, () => models.map(inWords).join("\n\n"));
  return 0;
}

async function inDetail(
  entry: InventoryEntry,
  use: CatalogUse | undefined,
  { entries, layout }: { entries: readonly InventoryEntry[]; layout: Layout },
) {
  const files = await Promise.all(
    entry.model.files.map(async (file) => ({
      ...file,
      present: await hasSize(join(entry.model.path, file.path), file.size),
    })),
  );
  const keptRevisions = entries
    .filter(({ model }) => model.kept?.of === entry.model.key)
    .map((kept) => describe(kept, undefined))
    .toSorted((a, b) => ((a.keptSince ?? "") < (b.keptSince ?? "") ? 1 : -1));
  const { source, location, kept } = entry.model;
  const isShown = source === "huggingface" && !kept && (await hasLocalDir(layout, location));
  const localDir = isShown ? layout.local.folder(location) : null;
  return { ...describe(entry, use), catalogModels: use?.models ?? [], localDir, keptRevisions, files };
}

function inWords(model: Awaited<ReturnType<typeof inDetail>>): string {
  const { source, location, requestedRevision, revision, fixed, files, heldBy, keptRevisions } = model;
  const missing = files.filter(({ present }) => !present).length;
  const asked = fixed ? " (fixed)" : ` (of ${requestedRevision})`;
  const workers = heldBy.map(
    ({ name, host, workerType }) => `${name} on ${host}${workerType ? ` (${workerType})` : ""}`,
  );
  const lines = [
    ["model", `${source}:${location}`],
    ["in the catalog", model.catalogModels.join(", ") || "no"],
    ["revision", `${revision}${asked}`],
    ["state", model.complete ? "complete" : missing > 0 ? `${missing} files missing` : "not finished"],
    ...(model.keptSince === null ? [] : [["kept since", when(model.keptSince)]]),
    ...keptRevisions.map(keptLine),
    ...(model.pinned ? [["pinned", "yes"]] : []),
    ["quantization", model.quantization ?? "none"],
    ["licence", model.license ?? "not known"],
    ...(model.pickles > 0 ? [["pickles", `${model.pickles} files, whose loading can run code`]] : []),
    ["size", `${bytes(model.bytes)} in ${files.length} files`],
    ["fetched", when(model.storedAt)],
    ["last used", when(model.lastUsedAt)],
    ["worker types", model.workerTypes.join(", ") || "none"],
    ["in use by", workers.join(", ") || "nobody"],
    ["path", model.path],
    ...(model.localDir ? [["plain folder", model.localDir]] : []),
    ["record", model.key],
  ];
  const rows = files.map(({ path, size, digest, present }) => [
    `  ${path}`,
    [...(present ? [] : ["missing"]), ...(isPickle(path) ? ["pickle"] : [])].join(", "),
    bytes(size),
    `${digest.algorithm}:${digest.hex}`,
  ]);
  return `${table(lines)}\n${table(rows)}`;
}

function keptLine({ revision, keptSince, complete, pinned, heldBy }: ReturnType<typeof describe>): string[] {
  const notes = [...(complete ? [] : ["incomplete"]), ...(pinned ? ["pinned"] : []), ...(heldBy[0] ? ["in use"] : [])];
  const since = when(keptSince ?? "");
  return ["kept revision", `${revision} (since ${since}${notes.map((note) => `, ${note}`).join("")})`];
}
