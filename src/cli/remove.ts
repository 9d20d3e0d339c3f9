import { EXIT, MusterError } from "../errors.ts";
import { bytes } from "../fetch/progress-log.ts";
import type { StoredModel } from "../model.ts";
import { freedBytes } from "../store/disk-usage.ts";
import type { Holder } from "../store/holds.ts";
import { nameOf } from "../store/kept-revisions.ts";
import { type RemovalOutcome, removeModel } from "../store/remove-model.ts";
import { changeError } from "./change-error.ts";
import { confirm } from "./confirm.ts";
import { findAllStored } from "./find-stored.ts";
import { openVolume } from "./open-volume.ts";
import { print, printError } from "./output.ts";
import type { GlobalOptions } from "./setup.ts";
import { modelTable } from "./volume-words.ts";

export interface RemoveOptions extends GlobalOptions {
  dryRun?: boolean;
  yes?: boolean;
}

/** `muster remove MODEL…`: takes models off the volume, but for what other models share with them. */
export async function remove(names: string[], options: RemoveOptions): Promise<number> {
  const { config, layout, audit, entries, uses, signal } = await openVolume();
  const named = findAllStored(names, entries, uses);
  // With a model go the revisions that are kept of it.
  const whole = new Set(named.map(({ model }) => model.key));
  const chosen = entries.filter((entry) => named.includes(entry) || whole.has(entry.model.kept?.of ?? ""));
  for (const { model, heldBy, pin } of chosen) {
    if (pin) throw isPinned(model);
    if (heldBy.length > 0) throw inUse(model.location, heldBy);
  }
  const gone = chosen.map(({ model }) => model);
  const kept = entries.filter((entry) => !chosen.includes(entry)).map(({ model }) => model);
  const freed = await freedBytes(gone, kept);
  const words = `${chosen.length === 1 ? "a model" : `${chosen.length} models`}, which frees ${bytes(freed)}`;
  const dryRun = options.dryRun ?? false;
  if (!options.json) process.stdout.write(`${modelTable(chosen)}\n`);
  const models: { key: string; location: string; bytes: number; outcome: RemovalOutcome["outcome"] | "planned" }[] = [];
  const failures: MusterError[] = [];
  if (!dryRun && !(await confirm(`Remove ${words}?`, options))) return EXIT.ok;
  for (const model of gone) {
    const { key, location, bytes: size } = model;
    const result: RemovalOutcome | null = dryRun
      ? null
      : await removeModel(layout, key, signal, (record) =>
          audit.note({ action: "removed", model: record, files: record.files }),
        ).catch((error: unknown) => {
          throw changeError(error, config.modelCacheDir, "remove");
        });
    models.push({ key, location, bytes: size, outcome: result?.outcome ?? "planned" });
    if (result?.outcome === "held") failures.push(inUse(location, result.holders));
    if (result?.outcome === "pinned") failures.push(isPinned(model));
    if (result?.outcome === "busy") failures.push(beingWritten(location));
  }
  const done = failures.length === 0;
  print({ models, freedBytes: done && !dryRun ? freed : 0, dryRun }, options, () =>
    dryRun ? `Would remove ${words}` : done ? `Removed ${words}` : `Removed ${gone.length - failures.length} models`,
  );
  for (const failure of failures) if (!options.json) printError(failure, options);
  return failures[0]?.exitCode ?? EXIT.ok;
}

export function inUse(location: string, holders: readonly Holder[]): MusterError {
  const who = holders.map(({ name, host, workerType }) => `${name} on ${host}${workerType ? ` (${workerType})` : ""}`);
  // Commands hold models too, by a name that has a space, which no worker's has.
  const workers = holders.filter(({ name }) => !name.includes(" "));
  const commands = holders.filter((holder) => !workers.includes(holder));
  const steps = [
    ...(workers.length > 0
      ? ["Stop that worker (`docker stop worker`), or take the model out of its catalog and restart it"]
      : []),
    ...commands.map(({ name, host }) => `Wait until \`${name}\` on ${host} has ended`),
    `Then run the same \`muster ${process.argv[2]}\` again`,
  ];
  return new MusterError("MODEL_IN_USE", `${location} is in use by ${who.join(", ")}.`, {
    hint: steps.map((step) => `${step}.`).join(" "),
  });
}

export function isPinned(model: StoredModel): MusterError {
  const name = nameOf(model);
  return new MusterError("MODEL_PINNED", `${name} is pinned.`, {
    hint: `\`muster unpin ${name}\` lets it go; then try again.`,
  });
}

export function beingWritten(location: string): MusterError {
  return new MusterError("MODEL_IN_USE", `${location} is just being fetched or removed by another process.`, {
    hint: "Wait until `muster list` shows it complete, or stop that process; then try again.",
  });
}
