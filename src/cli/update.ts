import { judgeLicense, recordedLicense } from "../content-policy.ts";
import { EXIT, MusterError, toMusterError } from "../errors.ts";
import { askLatest } from "../fetch/ask-latest.ts";
import type { ModelProgress } from "../fetch/model-progress.ts";
import { openFetch } from "../fetch/open-fetch.ts";
import { bytes } from "../fetch/progress-log.ts";
import { recordSource, recordVariant } from "../fetch/record-source.ts";
import { type FilePlan, planOf } from "../fetch/store-plan.ts";
import { updateAtServer } from "../fetch/sync-at-server.ts";
import type { SyncContext } from "../fetch/sync-context.ts";
import { type Trimmed, trimRevisions, updateModel } from "../fetch/update-model.ts";
import type { InventoryEntry } from "../store/inventory.ts";
import { keptRevisions } from "../store/kept-revisions.ts";
import { isComplete } from "../store/manifest.ts";
import { type Asked, askAll, namedModels } from "./find-moved.ts";
import { openVolume, type Volume } from "./open-volume.ts";
import { movedAsJson, movedTable } from "./outdated.ts";
import { print, printError, table } from "./output.ts";
import type { GlobalOptions } from "./setup.ts";
import { showWork } from "./work-progress.ts";

export interface UpdateOptions extends GlobalOptions {
  /** A revision, or `previous`. */
  to?: string;
  dryRun?: boolean;
}

/** A model, and the revision that it is to have. */
interface Move extends Asked {
  plan: FilePlan | null;
  /** To be told of it, whether it is carried out or not. */
  notice: string | null;
}

interface Outcome {
  move: Move;
  fetchedBytes: number;
  trimmed: Trimmed[];
  error: MusterError | null;
}

/**
 * `muster update [MODEL…]`: takes models to the revision that their source has now; with `--to` to any other. Only what
 * differs is fetched; the revision before stays the model's until then, and is kept after that.
 */
export async function update(names: string[], options: UpdateOptions): Promise<number> {
  const volume = await openVolume({ logTo: process.stderr.isTTY ? "quiet" : "stderr" });
  const { config, log, signal } = volume;
  refuseLocked(config.modelsLocked);
  if (options.to !== undefined && names.length === 0) {
    throw new MusterError("USAGE", "--to is about the models that are named, and none is.", {
      hint: "`muster update MODEL --to previous`; `muster list` shows the models.",
    });
  }
  await using fetching = await openFetch(config, log, signal);
  const entries = await namedModels(names, volume);
  const moves = (await movesOf(entries, options.to, volume, fetching)).map((move) => judged(move, fetching));
  const { dryRun = false } = options;
  const due = moves.filter(({ state }) => state === "outdated");
  if (!options.json && due.length > 0) process.stdout.write(`${movedTable(due, "NEW")}\n`);
  const outcomes: Outcome[] = [];
  for (const move of moves) {
    const isNothing = dryRun || move.state === "failed" || move.plan === null;
    outcomes.push(
      isNothing
        ? { move, fetchedBytes: 0, trimmed: [], error: move.error }
        : await carryOut(move, volume, fetching, options),
    );
  }
  tell(outcomes, options);
  const failed = outcomes.flatMap(({ error }) => (error ? [error.exitCode] : []));
  return failed.length === 0 ? EXIT.ok : failed.includes(EXIT.tryAgain) ? EXIT.tryAgain : (failed[0] ?? EXIT.failed);
}

async function movesOf(
  entries: readonly InventoryEntry[],
  to: string | undefined,
  volume: Volume,
  context: SyncContext,
): Promise<Move[]> {
  if (to !== undefined) return Promise.all(entries.map((entry) => moveTo(entry, to, volume, context)));
  const asked = await askAll(entries, volume, context);
  return asked.map((each) => ({ ...each, plan: each.latest?.plan ?? null, notice: null }));
}

/** By the operator's policy, before anything moves; whoever moves it asks that again. */
function judged(move: Move, { contentPolicy: { licenses } }: SyncContext): Move {
  const { entry, state, plan } = move;
  if (state !== "outdated" || plan?.license === undefined) return move;
  const { location, license: declared } = entry.model;
  const known = { declared: recordedLicense({ declared, found: plan.license }), found: plan.license };
  const { refused, notice } = judgeLicense(location, known, licenses);
  return refused ? { ...move, state: "failed", error: refused } : { ...move, notice };
}

/** What is kept on the volume is known without asking anybody. */
async function moveTo(entry: InventoryEntry, to: string, { uses }: Volume, context: SyncContext): Promise<Move> {
  const { model } = entry;
  const known = uses.get(model.key)?.variant ?? null;
  const nothing = { entry, variant: known, latest: null, plan: null, notice: null, error: null };
  try {
    const server = context.servers?.[model.source];
    if (server) throw onlyLatest(model.location, server.name);
    const revisions = await keptRevisions(context.layout, model.key);
    const isMeant = (revision: string) => to.length >= 7 && revision.startsWith(to);
    const kept = to === "previous" ? revisions[0] : revisions.find(({ revision }) => isMeant(revision));
    if (isMeant(model.revision)) return { ...nothing, state: "current", plan: planOf(model) };
    if (kept && ((await isComplete(context.layout, kept)) || context.offline)) {
      const plan = planOf(kept);
      const before = new Set(model.files.map(({ path, digest }) => `${path} ${digest.hex}`));
      const changed = plan.files.filter(({ path, digest }) => !before.has(`${path} ${digest.hex}`));
      const latest = { plan, changed: changed.map(({ path }) => path), gone: [], bytesToFetch: 0 };
      return { ...nothing, state: "outdated", latest, plan };
    }
    if (to === "previous") throw noPrevious(model.location);
    const variant = { ...recordVariant(model, known), revision: to };
    const latest = await askLatest(model, variant, context);
    const isCurrent = latest.plan.revision === model.revision;
    return { ...nothing, state: isCurrent ? "current" : "outdated", latest, plan: latest.plan };
  } catch (error) {
    context.signal?.throwIfAborted();
    return { ...nothing, state: "failed", error: toMusterError(error) };
  }
}

async function carryOut(move: Move, volume: Volume, context: SyncContext, options: UpdateOptions): Promise<Outcome> {
  const { entry, variant, plan } = move;
  const { config, log, layout, signal } = volume;
  const { model } = entry;
  if (plan === null) return { move, fetchedBytes: 0, trimmed: [], error: null };
  const terminal = process.stderr.isTTY && !options.json ? process.stderr : null;
  using progress = showWork({ doing: "Updating", done: "Updated", name: model.location }, terminal, log);
  let fetchedBytes = 0;
  try {
    const license = recordedLicense({ declared: model.license, found: plan.license ?? null });
    const source = variant && { ...variant, revision: model.requestedRevision };
    const spec = { ...recordSource(model, source), license };
    const server = context.servers?.[model.source];
    const told: ModelProgress = {
      onPlan: ({ bytes: all, presentBytes, files }) =>
        progress.onPlan({ bytes: all, missingBytes: all - presentBytes, missingFiles: files }),
      onBytes(count) {
        fetchedBytes += Math.max(0, count);
        progress.onBytes(count);
      },
      onShared: progress.onBytes,
      onNote: (message, level) => log[level](message),
    };
    if (server) await updateAtServer(spec, server, context, told, model.revision);
    else await updateModel(model, { spec, plan }, context, told);
    const trimmed = await trimRevisions(
      layout,
      { key: model.key, keep: config.keepRevisions, audit: volume.audit },
      signal,
    );
    return { move, fetchedBytes, trimmed, error: null };
  } catch (error) {
    signal.throwIfAborted();
    return { move, fetchedBytes, trimmed: [], error: toMusterError(error) };
  }
}

function tell(outcomes: readonly Outcome[], options: UpdateOptions): void {
  const { dryRun = false } = options;
  const models = outcomes.map(({ move, fetchedBytes, trimmed, error }) => ({
    ...movedAsJson({ ...move, error }),
    state: stateOf(move, error, dryRun),
    bytesFetched: fetchedBytes,
    removedRevisions: trimmed.filter(({ outcome }) => outcome === "removed").map(({ model }) => model.revision),
    stillUsedRevisions: trimmed.filter(({ outcome }) => outcome === "held").map(({ model }) => model.revision),
  }));
  const count = (...states: string[]) => models.filter(({ state }) => states.includes(state)).length;
  const fetched = models.reduce((sum, { bytesFetched }) => sum + bytesFetched, 0);
  const removed = models.flatMap(({ location, removedRevisions }) =>
    removedRevisions.map((revision) => [`Removed an earlier revision:`, `${location}@${revision.slice(0, 12)}`]),
  );
  const notices = outcomes.flatMap(({ move: { notice } }) => notice ?? []);
  print({ models, notices, dryRun }, options, () =>
    [
      ...notices,
      ...(removed.length > 0 ? [table(removed)] : []),
      dryRun
        ? `Would update ${count("planned")} of ${models.length} models`
        : `Updated ${count("updated")} of ${models.length} models, ${bytes(fetched)} fetched now`,
    ].join("\n"),
  );
  for (const { error } of outcomes) if (error && !options.json) printError(error, options);
}

function stateOf({ state }: Move, error: MusterError | null, dryRun: boolean): string {
  if (error) return "failed";
  return state === "outdated" ? (dryRun ? "planned" : "updated") : state;
}

/** Workers that are locked would take the model back at once. */
function refuseLocked(isLocked: boolean): void {
  if (!isLocked) return;
  throw new MusterError(
    "USAGE",
    "MODELS_LOCKED is set: models are what the lock names, and an update would be undone.",
    {
      hint: "Update a volume that is not locked (`MODELS_LOCKED=false muster update`), write its lock with `muster lock`, and give that to the workers.",
    },
  );
}

function onlyLatest(location: string, server: string): MusterError {
  return new MusterError("SOURCE_UNSUPPORTED", `${location} is kept by ${server}, which has of a tag what it is now.`, {
    hint: `\`muster update ${location}\` takes that; for another, name a tag in the catalog that does not move.`,
  });
}

function noPrevious(location: string): MusterError {
  return new MusterError("REVISION_NOT_FOUND", `No earlier revision of ${location} is kept on the volume.`, {
    hint: `\`muster show ${location}\` lists those that are; KEEP_REVISIONS says how many, and \`muster update ${location} --to REVISION\` fetches any.`,
  });
}
