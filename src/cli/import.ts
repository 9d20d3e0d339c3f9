import { EXIT, MusterError } from "../errors.ts";
import { findBundles } from "../fetch/bundle/find-bundles.ts";
import { type ImportOutcome, importBundle } from "../fetch/bundle/import-bundle.ts";
import type { Bundle } from "../fetch/bundle/open-bundle.ts";
import { type ImportContext, type ImportPlan, planImport } from "../fetch/bundle/plan-import.ts";
import { isToStore } from "../fetch/bundle/volume-state.ts";
import { openFetch } from "../fetch/open-fetch.ts";
import { bytes } from "../fetch/progress-log.ts";
import type { Logger } from "../log.ts";
import { print, printError, table } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";
import { shortRevision } from "./volume-words.ts";
import { showWork } from "./work-progress.ts";

export interface ImportFlags extends GlobalOptions {
  dryRun?: boolean;
  update?: boolean;
  /** What `muster export` said the manifest's sha256 is. */
  sha256?: string;
}

interface ImportedBundle {
  bundle: Pick<Bundle, "name" | "id">;
  plan: ImportPlan;
  outcomes: ImportOutcome[];
}

/** `muster import FILE|DIR…`: adds to the volume what bundles have and it lacks. */
export async function importModels(names: string[], flags: ImportFlags): Promise<number> {
  const bars = process.stderr.isTTY && !flags.json;
  const { config, log } = setup({ logTo: "stderr", logFile: true, quiet: bars });
  const stop = new AbortController();
  process.once("SIGTERM", () => stop.abort());
  process.once("SIGINT", () => stop.abort());
  const found = await findBundles(names, process.stdin);
  await using fetching = await openFetch(config, log, stop.signal);
  const update = flags.update ? { keepRevisions: config.keepRevisions } : null;
  const context: ImportContext = { ...fetching, signal: stop.signal, update };
  const done: ImportedBundle[] = [];
  for (const { open } of found) {
    await using bundle = await open();
    checkId(bundle, flags);
    done.push(await importOne(bundle, context, { log, flags }));
  }
  print({ bundles: done.map((each) => show(each, flags)), dryRun: flags.dryRun ?? false }, flags, () =>
    done.map((each) => tell(each, flags)).join("\n"),
  );
  const failures = done.flatMap((each) => rows(each, flags).flatMap(({ error }) => error ?? []));
  for (const failure of failures) if (!flags.json) printError(failure, flags);
  return failures[0]?.exitCode ?? EXIT.ok;
}

async function importOne(
  bundle: Bundle,
  context: ImportContext,
  { log, flags }: { log: Logger; flags: ImportFlags },
): Promise<ImportedBundle> {
  const plan = await planImport(bundle, context);
  const { name, id } = bundle;
  if (flags.dryRun) return { bundle: { name, id }, plan, outcomes: [] };
  const terminal = process.stderr.isTTY && !flags.json ? process.stderr : null;
  const count = plan.models.length;
  const what = count === 1 ? (plan.models[0]?.model.location ?? "") : `${count} models`;
  using progress = showWork({ doing: "Importing", done: "Imported", name: what }, terminal, log);
  progress.onPlan(plan);
  const outcomes = await importBundle(bundle, plan, context, {
    onBytes: progress.onBytes,
    onNote: (message, level) => log[level](message),
  });
  return { bundle: { name, id }, plan, outcomes };
}

function checkId({ name, id }: Bundle, { sha256 }: ImportFlags): void {
  if (sha256 === undefined || sha256.toLowerCase() === id) return;
  throw new MusterError("BUNDLE_INVALID", `${name} is another bundle: the sha256 of its manifest is ${id}.`, {
    hint: "Nothing of it was placed. Compare with what `muster export` printed, and ask who made it.",
  });
}

const PLANNED = { missing: "to be added", present: "there", differs: "another revision is there" } as const;
const DONE = {
  imported: "added",
  updated: "updated",
  present: "there",
  differs: "another revision is there",
  failed: "failed",
} as const;

function rows({ plan, outcomes }: ImportedBundle, { update = false }: ImportFlags) {
  return plan.models.map(({ refused, ...planned }, index) => {
    const { found } = planned;
    const outcome = outcomes[index] ?? null;
    const willMove = found.state === "differs" && isToStore(found, update);
    const intent = refused ? "refused" : willMove ? "to be updated" : PLANNED[found.state];
    return { ...planned, state: outcome ? DONE[outcome.state] : intent, outcome, error: outcome?.error ?? refused };
  });
}

function show(imported: ImportedBundle, flags: ImportFlags) {
  const { bundle, plan } = imported;
  return {
    ...bundle,
    bytes: plan.bytes,
    missingBytes: plan.missingBytes,
    models: rows(imported, flags).map(({ model, found, missingBytes, notice, outcome, error }) => ({
      key: model.key,
      source: model.source,
      location: model.location,
      revision: model.revision,
      state: outcome?.state ?? (error ? "failed" : found.state),
      revisionBefore: found.state === "differs" ? found.revision : null,
      missingBytes,
      writtenBytes: outcome?.writtenBytes ?? 0,
      path: outcome?.stored?.path ?? null,
      notice,
      error: error?.toJSON() ?? null,
    })),
  };
}

function tell(imported: ImportedBundle, flags: ImportFlags): string {
  const { bundle, plan, outcomes } = imported;
  const { dryRun = false } = flags;
  const all = rows(imported, flags);
  const lines = all.map(({ model, state, missingBytes, outcome }) => [
    `${model.source}:${model.location}`,
    shortRevision(model),
    state,
    bytes(outcome?.writtenBytes ?? missingBytes),
  ]);
  const stays = all.filter(({ state }) => state === DONE.differs);
  const notices = all.flatMap(({ notice }) => notice ?? []);
  const notes = stays.map(({ model: { source, location }, found }) => {
    const revision = found.state === "differs" ? ` ${found.revision.slice(0, 12)}` : "";
    const isOwn = found.state === "differs" && found.record !== null;
    const next = isOwn ? "--update takes this one" : `\`muster remove ${location}\` makes room for this one`;
    return `Stays: ${source}:${location} is${revision} on the volume; ${next}`;
  });
  const isDone = ({ state }: (typeof all)[number]) =>
    ["added", "updated", "to be added", "to be updated"].includes(state);
  const size = dryRun ? plan.missingBytes : outcomes.reduce((sum, { writtenBytes }) => sum + writtenBytes, 0);
  const done = `${all.filter(isDone).length} of ${all.length} models from ${bundle.name}`;
  return [
    table(lines),
    ...notes,
    ...notices,
    dryRun ? `Would add ${done} (${bytes(size)} to write)` : `Added ${done} (${bytes(size)} written)`,
  ].join("\n");
}
