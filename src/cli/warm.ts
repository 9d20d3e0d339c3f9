import { freemem } from "node:os";
import { EXIT, MusterError, toMusterError } from "../errors.ts";
import { bytes } from "../fetch/progress-log.ts";
import { filesOnDisk, readFiles } from "../fetch/verify/read-files.ts";
import { findAllStored } from "./find-stored.ts";
import { loadInEngine } from "./load-in-engine.ts";
import { openVolume } from "./open-volume.ts";
import { print, printError } from "./output.ts";
import type { GlobalOptions } from "./setup.ts";
import { showWork } from "./work-progress.ts";

export interface WarmOptions extends GlobalOptions {
  /** False with --no-engine. */
  engine?: boolean;
}

/** `muster warm MODEL…`: reads models into the page cache, as fast as the disk is, and has their engine load them. */
export async function warm(names: string[], options: WarmOptions): Promise<number> {
  const volume = await openVolume({ logTo: process.stderr.isTTY ? "quiet" : "stderr" });
  const { config, layout, log, signal } = volume;
  const chosen = findAllStored(names, volume.entries, volume.uses);
  for (const { model, complete } of chosen) {
    if (complete) continue;
    throw new MusterError("MODEL_INCOMPLETE", `${model.location} is not complete on the volume.`, {
      hint: `Run \`muster sync ${model.location}\` first, then warm it.`,
    });
  }
  const files = await filesOnDisk(
    chosen.map(({ model }) => model),
    layout,
  );
  const size = files.reduce((sum, file) => sum + file.size, 0);
  if (size > freemem())
    log.warn(`${bytes(size)} are more than the ${bytes(freemem())} of memory that are free: some will not stay there`);
  const terminal = process.stderr.isTTY && !options.json ? process.stderr : null;
  const startedAt = performance.now();
  {
    const name = chosen.map(({ model }) => model.location).join(", ");
    using progress = showWork({ doing: "Reading", done: "Read", name }, terminal, log);
    progress.onPlan({ bytes: size, missingBytes: size, missingFiles: files.length });
    await readFiles(files, { signal, onBytes: progress.onBytes });
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const engines: { model: string; engine: string | null; why: string | null }[] = [];
  const failures: MusterError[] = [];
  for (const { model } of options.engine === false ? [] : chosen) {
    try {
      engines.push({ model: model.location, ...(await loadInEngine(model, config, signal)) });
    } catch (error) {
      failures.push(toMusterError(error));
      engines.push({ model: model.location, engine: null, why: toMusterError(error).message });
    }
  }
  print({ models: chosen.map(({ model }) => model.key), bytes: size, seconds, engines }, options, () =>
    [
      `Read ${bytes(size)} in ${seconds.toFixed(1)} s (${bytes(size / Math.max(seconds, 0.001))}/s)`,
      ...engines.map(({ model, engine, why }) => (engine ? `${model} is loaded at ${engine}` : `${model}: ${why}`)),
    ].join("\n"),
  );
  for (const failure of failures) if (!options.json) printError(failure, options);
  return failures[0]?.exitCode ?? EXIT.ok;
}
