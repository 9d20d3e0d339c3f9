import { EXIT, MusterError } from "../errors.ts";
import { holdModels } from "../fetch/hold-models.ts";
import { openFetch } from "../fetch/open-fetch.ts";
import { bytes, logProgress } from "../fetch/progress-log.ts";
import { type SyncOutcome, syncModels } from "../fetch/sync-models.ts";
import { detect, openCatalog, selectFor } from "../plan.ts";
import { print, printError } from "./output.ts";
import { selectForOthers } from "./prefetch.ts";
import { drawProgress } from "./progress-bars.ts";
import { type GlobalOptions, setup } from "./setup.ts";
import { tellSync } from "./sync-dry-run.ts";
import { targetType } from "./targets.ts";

interface SyncFlags extends GlobalOptions {
  /** For other machines than this one. */
  prefetch?: boolean;
  /** Only what the lock names. */
  locked?: boolean;
  /** Only says what would be fetched. */
  dryRun?: boolean;
}

/** `muster sync [type|model…]`: fetches what is missing, and ends. */
export async function sync(names: string[], options: SyncFlags): Promise<number> {
  const { dryRun = false } = options;
  const bars = process.stderr.isTTY && !options.json;
  const { config, log } = setup({ logTo: options.json || bars ? "stderr" : "stdout", logFile: !dryRun, quiet: bars });
  const stop = new AbortController();
  process.once("SIGTERM", () => stop.abort());
  process.once("SIGINT", () => stop.abort());
  const catalog = await openCatalog(config);
  const modelsLocked = config.modelsLocked || (options.locked ?? false);
  await using fetching = await openFetch({ ...config, modelsLocked }, log, stop.signal);
  // One that cannot be read is told once, and before any source is asked.
  await fetching.lock?.();
  const hardware = await detect(config, stop.signal);
  const sources = { ...fetching, onAsk: dryRun ? undefined : () => fetching.lanes.prepare() };
  const context = { config, hardware, sources, log };
  const selection = options.prefetch
    ? await selectForOthers(names, context, catalog)
    : await selectFor(targetType(names, catalog, config.workerType), context, catalog);
  for (const notice of selection.notices) log.warn(notice);
  if (dryRun) {
    await tellSync({ workerType: selection.workerType.id, models: selection.models }, fetching, options);
    return EXIT.ok;
  }
  // Models that are complete already stay while the others come.
  const { layout } = fetching;
  const workerType = selection.workerType.id;
  await using _hold = await holdModels(selection.models, { layout, name: "muster sync", workerType });
  const observer = bars ? drawProgress(process.stderr, log) : { ...logProgress(log), close: () => undefined };
  const outcomes = await syncModels(selection.models, fetching, observer);
  observer.close();
  const data = {
    workerType: selection.workerType.id,
    models: outcomes.map(({ spec, stored, fetchedBytes, error }) => ({
      id: spec.id,
      variant: spec.variant.id,
      required: spec.required,
      state: stored ? "stored" : "failed",
      path: stored?.path ?? null,
      revision: stored?.revision ?? null,
      bytesTotal: stored?.bytes ?? null,
      bytesFetched: fetchedBytes,
      error: error?.toJSON() ?? null,
    })),
  };
  print(data, options, () => summary(outcomes));
  for (const { spec, error } of outcomes) {
    if (error && !options.json)
      printError(labelled(spec.id, spec.required, error), { label: spec.required ? "error" : "warning" });
  }
  return exitCode(outcomes, options.prefetch ?? false);
}

/** Whoever fills a volume for others is told of each model that another try would bring, and where nothing came at all. */
function exitCode(outcomes: SyncOutcome[], prefetch: boolean): number {
  const nothing = prefetch && outcomes.every(({ stored }) => !stored);
  const failed = outcomes
    .filter(({ error }) => error !== null)
    .filter(({ spec, error }) => spec.required || nothing || (prefetch && error?.exitCode === EXIT.tryAgain))
    .map(({ error }) => error?.exitCode ?? EXIT.failed);
  // Where anything can be cured by trying again, that is what the exit code says.
  return failed.length === 0 ? EXIT.ok : failed.includes(EXIT.tryAgain) ? EXIT.tryAgain : (failed[0] ?? EXIT.failed);
}

function labelled(id: string, required: boolean, error: MusterError): MusterError {
  return new MusterError(error.code, `${id}${required ? "" : " (optional)"}: ${error.message}`, {
    ...error,
    cause: error,
  });
}

function summary(outcomes: SyncOutcome[]): string {
  const stored = outcomes.filter((outcome) => outcome.stored);
  const fetched = outcomes.reduce((sum, { fetchedBytes }) => sum + fetchedBytes, 0);
  const total = stored.reduce((sum, outcome) => sum + (outcome.stored?.bytes ?? 0), 0);
  const failed = outcomes.length - stored.length;
  return `${stored.length} of ${outcomes.length} models complete (${bytes(total)}), ${bytes(fetched)} fetched now${failed > 0 ? `, ${failed} failed` : ""}`;
}
