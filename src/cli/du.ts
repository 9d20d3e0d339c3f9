import { bytes } from "../fetch/progress-log.ts";
import type { StoredModel } from "../model.ts";
import { measureVolume } from "../store/disk-usage.ts";
import { openVolume } from "./open-volume.ts";
import { print, table } from "./output.ts";
import type { GlobalOptions } from "./setup.ts";

/** `muster du`: what takes how much of the volume, largest first; what has several names counts once. */
export async function du(options: GlobalOptions): Promise<number> {
  const { config, layout, entries } = await openVolume();
  const usage = await measureVolume(
    layout,
    entries.map(({ model }) => model),
  );
  const models = usage.models
    .map(({ model, bytes: size, ownBytes }) => {
      const { key, source, location, revision, kept } = model;
      return { key, source, location, revision, keptOf: kept?.of ?? null, bytes: size, ownBytes };
    })
    .toSorted((a, b) => b.bytes - a.bytes || a.location.localeCompare(b.location));
  const sources = [...Map.groupBy(models, ({ source }) => source)].map(([source, of]) => ({
    source,
    models: of.length,
    bytes: of.reduce((sum, model) => sum + model.bytes, 0),
  }));
  const data = {
    path: config.modelCacheDir,
    models,
    sources: sources.toSorted((a, b) => b.bytes - a.bytes),
    folders: usage.folders,
    bytes: usage.bytes,
  };
  print(data, options, () =>
    [
      table([
        ["SIZE", "OF ITS OWN", "MODEL"],
        ...models.map((model) => [bytes(model.bytes), bytes(model.ownBytes), nameOf(model)]),
      ]),
      table([
        ["SIZE", "MODELS", "SOURCE"],
        ...data.sources.map((source) => [bytes(source.bytes), String(source.models), source.source]),
      ]),
      table([
        ["SIZE", "NOT OF MODELS", "FOLDER"],
        ...usage.folders.map((folder) => [bytes(folder.bytes), bytes(folder.unrecordedBytes), folder.path]),
      ]),
      `${bytes(usage.bytes)} in all, each byte once`,
    ].join("\n\n"),
  );
  return 0;
}

type Named = Pick<StoredModel, "source" | "location" | "revision"> & { keptOf: string | null };

function nameOf({ source, location, revision, keptOf }: Named): string {
  return `${source}:${location}${keptOf === null ? "" : ` (kept revision ${revision.slice(0, 12)})`}`;
}
