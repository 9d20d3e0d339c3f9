import { access, constants } from "node:fs/promises";
import { EXIT, MusterError } from "../errors.ts";
import { openFetch } from "../fetch/open-fetch.ts";
import { bytes } from "../fetch/progress-log.ts";
import { openTarget } from "../fetch/push/open-target.ts";
import { pushModel } from "../fetch/push/push-model.ts";
import { parsePlace } from "../place.ts";
import { removeModel } from "../store/remove-model.ts";
import { volumeError } from "../store/volume-error.ts";
import { stateDirectory } from "../system.ts";
import { confirm } from "./confirm.ts";
import { findStored } from "./find-stored.ts";
import { openVolume } from "./open-volume.ts";
import { print } from "./output.ts";
import { beingWritten, inUse, isPinned } from "./remove.ts";
import type { GlobalOptions } from "./setup.ts";
import { showWork } from "./work-progress.ts";

export interface ArchiveOptions extends GlobalOptions {
  copy?: boolean;
  dryRun?: boolean;
  yes?: boolean;
}

/**
 * `muster archive MODEL DIR`: takes a model to another disk, as `muster push` lays it out there, every byte checked against
 * the record; then off the volume, unless a copy is wanted.
 */
export async function archive(name: string, folder: string, options: ArchiveOptions): Promise<number> {
  const volume = await openVolume({ logTo: process.stderr.isTTY ? "quiet" : "stderr" });
  const { config, layout, log, audit, signal } = volume;
  const { copy = false, dryRun = false } = options;
  if (parsePlace(folder)?.kind !== "path") {
    throw new MusterError("USAGE", `${JSON.stringify(folder)} is no folder to archive to.`, {
      hint: "Name an absolute folder or a file:// URL: `muster archive MODEL /mnt/cold`; `muster push` takes models to buckets.",
    });
  }
  const [entry, ...others] = findStored(name, volume.entries, volume.uses);
  if (!entry || others.length > 0) {
    const keys = [entry, ...others].flatMap((each) => each?.model.key ?? []);
    throw new MusterError("USAGE", `${name} means ${keys.length} models on the volume.`, {
      hint: `Name one of them by its record: \`muster archive ${keys[0]} ${folder}\`; there are ${keys.join(", ")}.`,
    });
  }
  const { model, heldBy, pin } = entry;
  if (!copy && pin) throw isPinned(model);
  if (!copy && heldBy.length > 0) throw inUse(model.location, heldBy);
  if (!entry.complete) {
    throw new MusterError("MODEL_INCOMPLETE", `${model.location} is not complete on the volume.`, {
      hint: `Run \`muster sync ${name}\` first, then archive it again.`,
    });
  }
  if (model.source === "ollama") {
    throw new MusterError(
      "SOURCE_UNSUPPORTED",
      `${model.location} is an Ollama model, and no folder is read back as one.`,
      {
        hint: `\`muster export ${name} ${folder.replace(/\/*$/, "/")}\` takes it there, \`muster import\` brings it back; \`muster remove ${name}\` frees its space here.`,
      },
    );
  }
  // Or else all of it would be copied, and stay.
  if (!copy) {
    await access(layout.manifests, constants.W_OK).catch((error: unknown) => {
      throw volumeError(error, config.modelCacheDir);
    });
  }
  const verb = copy ? "Copy" : "Move";
  if (
    !dryRun &&
    !copy &&
    !(await confirm(`Move ${model.location} (${bytes(model.bytes)}) to ${folder}?`, { ...options, done: "moved" }))
  )
    return EXIT.ok;
  await using fetching = await openFetch(config, log, signal);
  const target = await openTarget(folder, model, { ...fetching, stateFolder: () => stateDirectory(config.stateDir) });
  const terminal = process.stderr.isTTY && !options.json ? process.stderr : null;
  using progress = showWork({ doing: "Archiving", done: "Archived", name: model.location }, terminal, log);
  const onPlan = dryRun ? () => undefined : progress.onPlan;
  const plan = await pushModel(model, target, { signal, dryRun, onPlan, onBytes: progress.onBytes });
  progress[Symbol.dispose]();
  const to = target.name;
  if (!dryRun) await audit.note({ action: "archived", model, files: model.files, to });
  if (!dryRun && !copy) {
    const removal = await removeModel(layout, model.key, signal, () =>
      audit.note({ action: "removed", model, files: model.files, why: `archived to ${to}` }),
    ).catch((error: unknown) => {
      throw volumeError(error, config.modelCacheDir);
    });
    if (removal.outcome === "held") throw inUse(model.location, removal.holders);
    if (removal.outcome === "pinned") throw isPinned(model);
    if (removal.outcome === "busy") throw beingWritten(model.location);
  }
  const { location, revision } = model;
  print({ model: location, revision, target: target.name, copy, dryRun, ...plan }, options, () => {
    const amount = `${location} (${bytes(plan.bytes)}, ${plan.files} files)`;
    return dryRun
      ? `${verb === "Copy" ? "Would copy" : "Would move"} ${amount} to ${target.name}, ${bytes(plan.missingBytes)} of it missing there`
      : `${verb === "Copy" ? "Copied" : "Moved"} ${amount} to ${target.name}; HF_ENDPOINT=${folder} reads it back`;
  });
  return EXIT.ok;
}
