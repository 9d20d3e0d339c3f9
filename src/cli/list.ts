import { toMusterError } from "../errors.ts";
import { serverOf } from "../fetch/open-fetch.ts";
import { bytes } from "../fetch/progress-log.ts";
import { createLayout } from "../store/layout.ts";
import { isComplete, listManifests } from "../store/manifest.ts";
import { print, table } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";

/** `muster list`: the models on the volume, by their records, and those of a server that keeps models by itself. */
export async function list(options: GlobalOptions): Promise<number> {
  const { config, log } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const layout = createLayout(config.modelCacheDir, config.hfHubCache, config.ollamaModels);
  const server = await serverOf(config);
  const atServer = (await server?.list().catch((error: unknown) => void log.warn(toMusterError(error).message))) ?? [];
  const records = [...(await listManifests(layout)), ...atServer];
  const models = await Promise.all(
    records
      .toSorted((a, b) => a.location.localeCompare(b.location))
      .map(async (record) => {
        const { source, location, requestedRevision, revision, bytes: size, files, license, storedAt, path } = record;
        return {
          source,
          location,
          requestedRevision,
          revision,
          complete: atServer.includes(record) || (await isComplete(layout, record)),
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
      ["", model.revision].includes(model.requestedRevision)
        ? model.revision.slice(0, 12)
        : `${model.requestedRevision} (${model.revision.slice(0, 12)})`,
      model.complete ? "complete" : "incomplete",
      bytes(model.bytes),
      `${model.files} files`,
      model.license ?? "",
      model.storedAt.slice(0, 16).replace("T", " "),
    ]);
    return `${table([["MODEL", "REVISION", "STATE", "SIZE", "FILES", "LICENCE", "STORED"], ...rows])}\n${models.length} models, ${bytes(total)} in ${config.modelCacheDir}${server ? ` and at ${server.name}` : ""}`;
  });
  return 0;
}
