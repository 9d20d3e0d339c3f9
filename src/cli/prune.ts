import { EXIT, toMusterError } from "../errors.ts";
import { mapSome } from "../fetch/map-some.ts";
import { bytes } from "../fetch/progress-log.ts";
import type { StoredModel } from "../model.ts";
import { openCatalog } from "../plan.ts";
import { findWorkerType } from "../select/worker-types.ts";
import { keepBallast, withBallast } from "../store/ballast.ts";
import { chooseRemovals, type PruneChoice } from "../store/choose-removals.ts";
import { liveHolds } from "../store/holds.ts";
import { supersededRevisions } from "../store/kept-revisions.ts";
import type { Layout } from "../store/layout.ts";
import { type RemovalOutcome, removeModel } from "../store/remove-model.ts";
import { findGarbage } from "../store/sweep/find-garbage.ts";
import type { Garbage } from "../store/sweep/garbage.ts";
import { usedBytes } from "../store/used-bytes.ts";
import { volumeNow } from "../store/volume-clock.ts";
import { volumeError } from "../store/volume-error.ts";
import { keysOfType } from "./catalog-models.ts";
import { changeError } from "./change-error.ts";
import { confirm } from "./confirm.ts";
import { openVolume, type Volume } from "./open-volume.ts";
import { print } from "./output.ts";
import type { GlobalOptions } from "./setup.ts";
import { modelTable } from "./volume-words.ts";

/** Left-overs that are removed at once. */
const AT_ONCE = 16;

export interface PruneOptions extends GlobalOptions {
  /** Milliseconds. */
  olderThan?: number;
  /** Bytes. */
  maxSize?: number;
  keepType?: string[];
  dryRun?: boolean;
  yes?: boolean;
}

/**
 * `muster prune`: what was not used for long, or used longest ago, until models fit; and what processes that are gone have
 * left behind. Never what a running worker needs.
 */
export async function prune(options: PruneOptions): Promise<number> {
  const volume = await openVolume();
  const { config, layout, entries, signal } = volume;
  const { dryRun = false, olderThan, maxSize = null } = options;
  const garbage = await findGarbage(layout);
  const garbageBytes = garbage.reduce((sum, each) => sum + each.bytes, 0);
  const choice = await chooseRemovals(entries, (await usedBytes(layout.modelFolders)) - garbageBytes, {
    unusedSince: olderThan === undefined ? null : (await volumeNow(layout)) - olderThan,
    maxBytes: maxSize,
    superseded: new Set(supersededIn(volume).map(({ key }) => key)),
    kept: await keptModels(volume, options.keepType ?? []),
  });
  const isNothing = garbage.length === 0 && choice.removals.length === 0;
  const words = describe(choice, garbage);
  if (!options.json && words !== "") process.stdout.write(`${words}\n`);
  const freed = choice.removals.reduce((sum, each) => sum + each.bytes, 0) + garbageBytes;
  if (!isNothing && !dryRun && !(await confirm(`Remove all of this, which frees ${bytes(freed)}?`, options)))
    return EXIT.ok;
  const models = await removeAll(choice, volume, dryRun).catch((error: unknown) => {
    throw changeError(error, config.modelCacheDir, "prune");
  });
  const leftBehind = await sweep(garbage, { dryRun, signal, layout });
  if (!dryRun && !isNothing) await keepBallast(layout);
  const swept = leftBehind.filter(({ outcome }) => outcome === "removed");
  if (swept.length > 0) {
    const sweptBytes = swept.reduce((sum, each) => sum + each.bytes, 0);
    const why = [...new Set(swept.map(({ kind }) => KINDS[kind]))].join(", ");
    await volume.audit.note({ action: "swept", model: null, files: [], bytes: sweptBytes, why });
  }
  const after = dryRun ? choice.bytesAfter : await usedBytes(layout.modelFolders);
  const isTooMuch = maxSize !== null && after > maxSize;
  const spared = choice.spared.map(({ entry, because }) => ({
    key: entry.model.key,
    location: entry.model.location,
    because,
  }));
  const result = { dryRun, models, leftBehind, spared, freedBytes: freed, bytesAfter: after, isTooMuch };
  print(result, options, () => summary(result, maxSize));
  return isTooMuch && !dryRun ? EXIT.failed : EXIT.ok;
}

/** Earlier revisions beyond KEEP_REVISIONS. */
function supersededIn({ entries, config }: Volume) {
  const pinned = new Set(entries.filter(({ pin }) => pin).map(({ model }) => model.key));
  const models = entries.map(({ model }) => model);
  return supersededRevisions(models, { keep: config.keepRevisions, isPinned: (key) => pinned.has(key) });
}

/** What stays whatever the rules say, and why. */
async function keptModels(
  { layout, catalog, config, entries }: Volume,
  types: readonly string[],
): Promise<Map<string, string>> {
  const kept = new Map<string, string>();
  // What a catalog that cannot be read would keep is not known: nothing goes then.
  if (types.length > 0 || config.workerType) await openCatalog(config);
  for (const type of types) findWorkerType(catalog, type, "--keep-type");
  if (config.workerType) findWorkerType(catalog, config.workerType);
  const keep = (keys: readonly string[], because: string) => {
    for (const key of keys) kept.set(key, because);
  };
  for (const type of types) keep(keysOfType(type, catalog), `--keep-type ${type}`);
  if (config.workerType) keep(keysOfType(config.workerType, catalog), `WORKER_TYPE is ${config.workerType} here`);
  const holds = await liveHolds(layout);
  for (const { holder, catalog: keys } of holds) {
    keep(keys, `${holder.name} on ${holder.host} (${holder.workerType}) could choose it`);
  }
  for (const { holder, models } of holds) {
    const because = `in use by ${holder.name} on ${holder.host}`;
    keep(
      models.map(({ key }) => key),
      because,
    );
  }
  for (const { model, heldBy, pin } of entries) {
    const [first] = model.kept ? heldBy : [];
    if (first) keep([model.key], `in use by ${first.name} on ${first.host}, which began before it changed`);
    if (pin) keep([model.key], pin.host ? `pinned on ${pin.host}` : "pinned");
  }
  return kept;
}

async function removeAll({ removals }: PruneChoice, { layout, audit, signal }: Volume, dryRun: boolean) {
  const done: {
    key: string;
    location: string;
    bytes: number;
    reason: string;
    outcome: RemovalOutcome["outcome"] | "planned";
  }[] = [];
  for (const { entry, bytes: freed, reason } of removals) {
    const { key, location } = entry.model;
    const note = (model: StoredModel) => audit.note({ action: "pruned", model, files: model.files, why: WHY[reason] });
    const outcome = dryRun ? "planned" : (await removeModel(layout, key, signal, note)).outcome;
    done.push({ key, location, bytes: freed, reason, outcome });
  }
  return done;
}

async function sweep(
  garbage: readonly Garbage[],
  { dryRun, signal, layout }: { dryRun: boolean; signal: AbortSignal; layout: Layout },
) {
  const swept: { kind: Garbage["kind"]; path: string; bytes: number; outcome: string }[] = [];
  // Kind after kind, because leases tell whose the others were; of a kind many at once, because some have to be watched.
  for (const kind of new Set(garbage.map((each) => each.kind))) {
    const all = garbage.filter((each) => each.kind === kind);
    const outcomes = await mapSome(all, AT_ONCE, async (each) =>
      dryRun ? "planned" : removeOne(each, layout, signal),
    );
    swept.push(...all.map(({ path, bytes: size }, index) => ({ kind, path, bytes: size, outcome: outcomes[index]! })));
  }
  return swept;
}

async function removeOne({ path, remove }: Garbage, layout: Layout, signal: AbortSignal): Promise<string> {
  try {
    return (await withBallast(layout, () => remove(signal))) ? "removed" : "in use";
  } catch (error) {
    signal.throwIfAborted();
    // One that cannot be removed keeps none of the others.
    return toMusterError(volumeError(error, path)).message;
  }
}

function describe({ removals, spared }: PruneChoice, garbage: readonly Garbage[]): string {
  const entries = removals.map(({ entry }) => entry);
  const notes = removals.map(({ reason, bytes: freed }) => `${WHY[reason]}, frees ${bytes(freed)}`);
  const kinds = Map.groupBy(garbage, ({ kind }) => kind);
  const sections = [
    ...(removals.length > 0 ? [modelTable(entries, notes)] : []),
    ...spared.map(({ entry, because }) => `Stays: ${entry.model.source}:${entry.model.location}, ${because}`),
    ...[...kinds].map(([kind, all]) => {
      const size = all.reduce((sum, each) => sum + each.bytes, 0);
      return `Left behind: ${all.length} × ${KINDS[kind]}${size > 0 ? `, ${bytes(size)}` : ""}`;
    }),
  ];
  return sections.join("\n");
}

const WHY = {
  superseded: "an earlier revision beyond KEEP_REVISIONS",
  unused: "not used for long",
  size: "used longest ago",
};

const KINDS: Record<Garbage["kind"], string> = {
  removal: "a removal that was interrupted",
  hold: "what a worker held that is gone",
  lease: "a lease that nobody has",
  temporary: "a temporary file",
  partials: "a folder of unfinished files",
  orphans: "a folder with blobs that nothing names",
};

function summary(
  {
    dryRun,
    models,
    leftBehind,
    freedBytes,
    bytesAfter,
    isTooMuch,
  }: {
    dryRun: boolean;
    models: { outcome: string }[];
    leftBehind: { outcome: string; path: string }[];
    freedBytes: number;
    bytesAfter: number;
    isTooMuch: boolean;
  },
  maxSize: number | null,
): string {
  const isDone = ({ outcome }: { outcome: string }) => outcome === "removed" || outcome === "planned";
  const others = leftBehind.filter((each) => !isDone(each)).map(({ path, outcome }) => `${path}: ${outcome}\n`);
  const counts = `${models.filter(isDone).length} models and ${leftBehind.filter(isDone).length} left-overs`;
  const much = isTooMuch ? `; that is more than ${bytes(maxSize ?? 0)}, and the rest is needed` : "";
  return `${others.join("")}${dryRun ? "Would remove" : "Removed"} ${counts} (${bytes(freedBytes)}); models take ${bytes(bytesAfter)}${much}`;
}
