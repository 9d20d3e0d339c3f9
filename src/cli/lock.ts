import { dirname } from "node:path";
import { EXIT, hasSystemCode, MusterError } from "../errors.ts";
import { type Lock, lockedOf, readLock, showLock } from "../fetch/lock-file.ts";
import type { AuditTrail } from "../store/audit/audit-trail.ts";
import { acquireLease, type Lease } from "../store/lease.ts";
import { volumeError } from "../store/volume-error.ts";
import { writeFileDurably } from "../store/write-durably.ts";
import { namedModels } from "./find-moved.ts";
import { nothingStored } from "./find-stored.ts";
import { openVolume, type Volume } from "./open-volume.ts";
import { print, table } from "./output.ts";
import type { GlobalOptions } from "./setup.ts";

export interface LockOptions extends GlobalOptions {
  file?: string;
  dryRun?: boolean;
}

type Change = "added" | "changed" | "removed" | "same";

/**
 * `muster lock [MODEL…]`: writes down which revisions the volume has, for `sync --locked` to fetch just these elsewhere. Of
 * single models only their entries change.
 */
export async function lock(names: string[], options: LockOptions): Promise<number> {
  const volume = await openVolume();
  const { config, audit } = volume;
  const path = options.file ?? config.modelsLock;
  const { dryRun = false } = options;
  const found = await namedModels(names, volume);
  // A volume that is not mounted looks like an empty one, and a lock of nothing lets nothing be fetched any more.
  if (found.length === 0) throw nothingStored();
  const incomplete = found.find(({ complete }) => !complete);
  if (incomplete) {
    throw new MusterError("MODEL_INCOMPLETE", `${incomplete.model.location} is not complete on the volume.`, {
      hint: "Run `muster sync` first, or `muster lock` with the names of others.",
    });
  }
  const now = new Map(found.map(({ model }) => [model.key, lockedOf(model)]));
  const lease = dryRun ? null : await leaseToWrite(path, volume);
  try {
    const before: Lock = (await readLock(path)) ?? new Map();
    const after: Lock = names.length === 0 ? now : new Map([...before, ...now]);
    const changes = changesOf(before, after);
    if (!dryRun) {
      await write(path, showLock(after));
      for (const change of changes) await note(change, path, audit);
    }
    const isSame = changes.every(({ change }) => change === "same");
    print({ path, dryRun, models: changes }, options, () => {
      const rows = changes.filter(({ change }) => change !== "same").map(row);
      const verb = dryRun ? "Would lock" : "Locked";
      return [
        ...(rows.length > 0 ? [table(rows)] : []),
        `${verb} ${after.size} models in ${path}${isSame ? "; nothing changed" : ""}`,
      ].join("\n");
    });
  } finally {
    await lease?.release();
  }
  return EXIT.ok;
}

/** Two that lock single models at once each keep what the other writes. A volume that nobody can write has no place for that. */
async function leaseToWrite(path: string, { config, layout, signal }: Volume): Promise<Lease | null> {
  try {
    return await acquireLease(layout.lease("models.lock"), { what: path, signal });
  } catch (error) {
    if (hasSystemCode(error, "EROFS", "EACCES", "EPERM")) return null;
    throw volumeError(error, config.modelCacheDir);
  }
}

async function write(path: string, text: string): Promise<void> {
  try {
    await writeFileDurably(path, text);
  } catch (error) {
    throw volumeError(error, dirname(path));
  }
}

type Changed = ReturnType<typeof changesOf>[number];

function changesOf(before: Lock, after: Lock) {
  const all = new Map([...before, ...after]);
  return [...all.values()].map(({ key, source, location, requestedRevision }) => {
    const [from, to] = [before.get(key)?.revision ?? null, after.get(key)?.revision ?? null];
    const change: Change = from === null ? "added" : to === null ? "removed" : from === to ? "same" : "changed";
    return { key, source, location, requestedRevision, from, to, change };
  });
}

async function note({ change, from, to, ...model }: Changed, path: string, audit: AuditTrail): Promise<void> {
  if (change === "same") return;
  const revision = to ?? from ?? "";
  const why = change === "changed" ? `was at ${from}` : undefined;
  const action = change === "removed" ? "unlocked" : "locked";
  await audit.note({ action, model: { ...model, revision }, files: [], to: path, why });
}

function row({ source, location, from, to, change }: Changed): string[] {
  const revisions = [from, to].flatMap((revision) => (revision ? [revision.slice(0, 12)] : []));
  return [change, `${source}:${location}`, revisions.join(" → ")];
}
