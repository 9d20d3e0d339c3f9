import { bytes } from "../fetch/progress-log.ts";
import { createLayout } from "../store/layout.ts";
import { isComplete, listManifests } from "../store/manifest.ts";
import { print, table } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";

/** `muster list`: the models on the volume, by their records. */
export async function list(options: GlobalOptions): Promise<number> {
  const { config } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const layout = createLayout(config.modelCacheDir, config.hfHubCache, config.ollamaModels);
  const records = (await listManifests(layout)).toSorted((a, b) => a.location.localeCompare(b.location));
  const models = await Promise.all(
    records.map(async (record) => {
      const { source, location, requestedRevision, revision, bytes: size, files, license, storedAt, path } = record;
      return {
        source,
        location,
        requestedRevision,
        revision,
        complete: await isComplete(layout, record),
        bytes: size,
        files: files.length,
        license,
        storedAt,
        path,
      };
    }),
  );
  const total = models.reduce((sum, model) => sum + model.bytes, 0);
  print({ models, bytes: total }, options, () => {
    const rows = models.map((model) => [
      `${model.source}:${model.location}`,
      model.requestedRevision === model.revision
        ? model.revision.slice(0, 12)
        : `${model.requestedRevision} (${model.revision.slice(0, 12)})`,
      model.complete ? "complete" : "incomplete",
      bytes(model.bytes),
      `${model.files} files`,
      model.license ?? "",
      model.storedAt.slice(0, 16).replace("T", " "),
    ]);
    return `${table([["MODEL", "REVISION", "STATE", "SIZE", "FILES", "LICENCE", "STORED"], ...rows])}\n${models.length} models, ${bytes(total)} in ${config.modelCacheDir}`;
  });
  return 0;
}
