import { EXIT } from "../errors.ts";
import { openFetch } from "../fetch/open-fetch.ts";
import { bytes } from "../fetch/progress-log.ts";
import { findModel } from "../fetch/push/find-model.ts";
import { openTarget } from "../fetch/push/open-target.ts";
import { type PushPlan, pushModel } from "../fetch/push/push-model.ts";
import type { Variant } from "../model.ts";
import { openCatalog } from "../plan.ts";
import type { Catalog } from "../select/worker-types.ts";
import { stateDirectory } from "../system.ts";
import { print } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";
import { showWork } from "./work-progress.ts";

export interface PushCommandOptions extends GlobalOptions {
  dryRun?: boolean;
}

/** `muster push MODEL s3://bucket/prefix`: takes a model of the volume to a bucket or a folder; sends what is missing there. */
export async function push(name: string, destination: string, options: PushCommandOptions): Promise<number> {
  const bars = process.stderr.isTTY && !options.json;
  const { config, log } = setup({ logTo: options.json || bars ? "stderr" : "stdout", logFile: true, quiet: bars });
  const stop = new AbortController();
  process.once("SIGTERM", () => stop.abort());
  process.once("SIGINT", () => stop.abort());
  await using fetching = await openFetch(config, log, stop.signal);
  const stored = await findModel(name, variantsOf(name, await openCatalog(config)), fetching.layout);
  const target = await openTarget(destination, stored, {
    ...fetching,
    stateFolder: () => stateDirectory(config.stateDir),
  });
  const dryRun = options.dryRun ?? false;
  const { location, revision } = stored;
  using progress = showWork(
    { doing: "Uploading", done: "Uploaded", name: location },
    bars ? process.stderr : null,
    log,
  );
  const onPlan = dryRun ? () => undefined : progress.onPlan;
  const plan = await pushModel(stored, target, { signal: stop.signal, dryRun, onPlan, onBytes: progress.onBytes });
  progress[Symbol.dispose]();
  if (!dryRun) await fetching.audit?.note({ action: "pushed", model: stored, files: stored.files, to: target.name });
  print({ model: location, revision, target: target.name, dryRun, ...plan }, options, () => {
    return `${location} ${summary(plan, dryRun)} ${target.name}`;
  });
  return EXIT.ok;
}

function variantsOf(name: string, { models }: Catalog): Variant[] {
  const all = [...models.values()].flatMap(({ variants }) => variants);
  return models.get(name)?.variants ?? all.filter(({ location }) => location === name);
}

function summary({ bytes: total, files, missingBytes, missingFiles }: PushPlan, dryRun: boolean): string {
  if (missingFiles === 0) return `(${bytes(total)}, ${files} files) is complete at`;
  const done = dryRun ? "would be sent" : "sent";
  return `(${bytes(total)}, ${files} files): ${bytes(missingBytes)} in ${missingFiles} files ${done} to`;
}
