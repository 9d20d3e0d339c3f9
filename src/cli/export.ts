import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { EXIT, MusterError } from "../errors.ts";
import { type BundlePlan, planBundle } from "../fetch/bundle/bundle-plan.ts";
import { exportFile } from "../fetch/bundle/export-file.ts";
import { exportFolder } from "../fetch/bundle/export-folder.ts";
import type { ExportOptions, ExportResult } from "../fetch/bundle/export-options.ts";
import { exportStream } from "../fetch/bundle/export-stream.ts";
import { bytes } from "../fetch/progress-log.ts";
import { OwnHold } from "../store/holds.ts";
import type { InventoryEntry } from "../store/inventory.ts";
import { isKept } from "../store/kept-revisions.ts";
import { storeOf } from "../store/model-store.ts";
import { confirm } from "./confirm.ts";
import { findAllStored, nothingStored } from "./find-stored.ts";
import { openVolume, type Volume } from "./open-volume.ts";
import { print, printError } from "./output.ts";
import type { GlobalOptions } from "./setup.ts";
import { showWork } from "./work-progress.ts";

export interface ExportFlags extends GlobalOptions {
  all?: boolean;
  /** Bytes. */
  partSize?: number;
  zstd?: boolean;
  dryRun?: boolean;
  yes?: boolean;
}

/** Bytes; so many parts that a folder becomes slow are nobody's wish. */
const SMALLEST_PART = 100_000;

type Target = { kind: "stream" } | { kind: "folder" | "file"; path: string };

/** `muster export MODEL… FILE|DIR`: models of the volume as one file, for another volume that no network leads to. */
export async function exportModels(args: string[], flags: ExportFlags): Promise<number> {
  const target = await targetOf(args, flags);
  const volume = await openVolume({ logTo: process.stderr.isTTY ? "quiet" : "stderr" });
  const { chosen, left } = choose(args.slice(0, -1), volume, flags);
  const plan = planBundle(chosen.map(({ model }) => model));
  const { all: _, dryRun = false, json = false } = flags;
  const name = chosen.length === 1 ? (chosen[0]?.model.location ?? "") : `${chosen.length} models`;
  const result = dryRun ? null : await write(plan, target, name, { volume, flags });
  if (result) {
    const to = target.kind === "stream" ? "standard output" : target.path;
    for (const { model } of chosen) await volume.audit.note({ action: "exported", model, files: model.files, to });
  }
  const data = {
    bundle: { id: plan.id, target: args.at(-1), bytes: result?.bytes ?? plan.bytes, files: result?.files ?? [] },
    models: chosen.map(({ model: { key, source, location, revision, bytes: size } }) => {
      return { key, source, location, revision, bytes: size };
    }),
    left: left.map(({ model: { key, location } }) => ({ key, location })),
    writtenBytes: result?.writtenBytes ?? 0,
    dryRun,
  };
  const text = () => summary(plan, { name, result, dryRun, target });
  // Standard output is the bundle's.
  if (target.kind === "stream") process.stderr.write(json ? `${JSON.stringify(data)}\n` : `${text()}\n`);
  else if (result || dryRun) print(data, flags, text);
  for (const { model } of left) {
    const failure = new MusterError("MODEL_INCOMPLETE", `${model.location} is not complete, and was left out.`, {
      hint: `Run \`muster sync\` where it can be fetched, or \`muster remove ${model.key}\`; then export again.`,
    });
    if (!json) printError(failure, flags);
  }
  return left.length > 0 ? EXIT.failed : EXIT.ok;
}

async function targetOf(args: readonly string[], { partSize, zstd, all = false }: ExportFlags): Promise<Target> {
  const wrong = (message: string, hint: string) => new MusterError("USAGE", message, { hint });
  const last = args.at(-1);
  if (last === undefined || args.length < (all ? 1 : 2)) {
    throw wrong(
      "It takes models, and then where they go.",
      "`muster export MODEL… FILE`, or `muster export --all FILE` for every model of the volume.",
    );
  }
  if (all && args.length > 1) throw wrong("--all is every model of the volume.", "Name models, or give --all.");
  if (partSize !== undefined && partSize < SMALLEST_PART)
    throw wrong("Parts are too small.", "Give --part-size 100kB or more.");
  if (last === "-") {
    if (partSize !== undefined) throw wrong("A stream has no parts.", "Leave out --part-size, or name a file.");
    if (process.stdout.isTTY) {
      throw wrong(
        "A bundle is nothing to look at in a terminal.",
        "Lead it somewhere: `muster export MODEL - | ssh HOST muster import -`, or name a file.",
      );
    }
    return { kind: "stream" };
  }
  const path = resolve(last);
  const isFolder = last.endsWith("/") || ((await stat(path).catch(() => null))?.isDirectory() ?? false);
  if (!isFolder) return { kind: "file", path };
  if (partSize !== undefined || zstd) {
    throw wrong(
      `${last} is a folder, in which a bundle is neither split nor packed.`,
      `Name a file in it: \`muster export MODEL ${last.replace(/\/*$/, "")}/models.tar\`.`,
    );
  }
  return { kind: "folder", path };
}

function choose(names: readonly string[], { entries, uses }: Volume, { all = false }: ExportFlags) {
  const chosen = all ? entries.filter(({ model }) => !isKept(model)) : findAllStored(names, entries, uses);
  const keys = new Set(chosen.map(({ model }) => model.kept?.of ?? model.key));
  if (keys.size < chosen.length) {
    throw new MusterError("USAGE", "Two revisions of one model are meant, and a bundle has one.", {
      hint: "Name one of them, or export them to two bundles; `muster list` shows them.",
    });
  }
  const left = chosen.filter(({ complete }) => !complete);
  const [first] = left;
  if (first && (!all || left.length === chosen.length)) {
    throw new MusterError("MODEL_INCOMPLETE", `${first.model.location} is not complete on the volume.`, {
      hint: `Run \`muster sync ${first.model.location}\` first, then export it again.`,
    });
  }
  if (chosen.length === 0) throw nothingStored();
  const byKey = (a: InventoryEntry, b: InventoryEntry) => (a.model.key < b.model.key ? -1 : 1);
  return { chosen: chosen.filter(({ complete }) => complete).toSorted(byKey), left };
}

async function write(
  plan: BundlePlan,
  target: Target,
  name: string,
  { volume, flags }: { volume: Volume; flags: ExportFlags },
): Promise<ExportResult | null> {
  const { layout, log, signal } = volume;
  const models = plan.models.map(({ key, kept, source, location }) => ({
    key: kept?.of ?? key,
    lease: storeOf(layout, source).leaseName(location),
  }));
  // What is being read is not removed meanwhile.
  await using _hold = await OwnHold.take(layout, { name: "muster export", workerType: null, models, catalog: [] });
  const terminal = process.stderr.isTTY && !flags.json ? process.stderr : null;
  using progress = showWork({ doing: "Exporting", done: "Exported", name }, terminal, log);
  const options: ExportOptions = {
    signal,
    onPlan(present) {
      const missingBytes = plan.contentBytes - present;
      progress.onPlan({ bytes: plan.contentBytes, missingBytes, missingFiles: missingBytes > 0 ? 1 : 0 });
    },
    onBytes: progress.onBytes,
    onNote: (message, level) => log[level](message),
  };
  const { partSize = null, zstd = false } = flags;
  if (target.kind === "stream") return await exportStream(plan, { stream: process.stdout, zstd }, options);
  if (target.kind === "folder") return await exportFolder(plan, target.path, options);
  const mayReplace = (files: readonly string[]) =>
    confirm(`Replace ${files.length === 1 ? files[0] : `${files.length} files from ${files[0]} on`}?`, {
      ...flags,
      done: "written",
    });
  return await exportFile(plan, { path: target.path, partSize, zstd, mayReplace }, options);
}

function summary(
  { id, bytes: size }: BundlePlan,
  { name, result, dryRun, target }: { name: string; result: ExportResult | null; dryRun: boolean; target: Target },
): string {
  const place = target.kind === "stream" ? "standard output" : target.path;
  if (dryRun) return `Would export ${name} (${bytes(size)}) to ${place}`;
  const parts = target.kind === "file" && (result?.files.length ?? 0) > 1 ? `, ${result?.files.length} parts` : "";
  const amount = `${bytes(result?.bytes ?? size)}${parts}`;
  const what =
    result?.writtenBytes === 0
      ? `${name} is at ${place} already (${amount})`
      : `Exported ${name} to ${place} (${amount})`;
  return `${what}\nsha256 of its manifest: ${id}`;
}
