import { stat } from "node:fs/promises";
import { EXIT, MusterError, toMusterError } from "../errors.ts";
import { USER_AGENT } from "../fetch/ask.ts";
import { isPickle } from "../fetch/choose-files.ts";
import { openFetch } from "../fetch/open-fetch.ts";
import { bytes } from "../fetch/progress-log.ts";
import { Lanes } from "../fetch/transfer/lanes.ts";
import { type CheckContext, checkFiles, isChanging, type WrongFile } from "../fetch/verify/check-model.ts";
import { checkList, writeChecksums } from "../fetch/verify/checksums.ts";
import { mendModel } from "../fetch/verify/mend-model.ts";
import type { StoredModel } from "../model.ts";
import { nameOf } from "../store/kept-revisions.ts";
import { listManifests } from "../store/manifest.ts";
import { volumeError } from "../store/volume-error.ts";
import { findAllStored, nothingStored } from "./find-stored.ts";
import { openVolume, type Volume } from "./open-volume.ts";
import { print, printError, table } from "./output.ts";
import type { GlobalOptions } from "./setup.ts";
import { showWork } from "./work-progress.ts";

export interface VerifyOptions extends GlobalOptions {
  repair?: boolean;
  dryRun?: boolean;
  /** Bytes a second. */
  rate?: number;
  /** The list to check in place of the records; `true`: the volume's own. */
  checksums?: string | true;
  writeChecksums?: boolean;
}

const TRIES = 3;

interface Verdict {
  model: StoredModel;
  state: "right" | "wrong" | "repaired" | "gone";
  wrong: WrongFile[];
  error: MusterError | null;
}

/** `muster verify [MODEL…]`: reads everything anew and holds it against the records, or against a list of checksums. */
export async function verify(names: string[], options: VerifyOptions): Promise<number> {
  const volume = await openVolume({ logTo: process.stderr.isTTY ? "quiet" : "stderr" });
  const { config, layout, signal, log } = volume;
  const bandwidth = options.rate ?? config.verifyRate;
  const lanes = new Lanes({
    connections: 1,
    stallTimeoutMs: config.stallTimeoutMs,
    userAgent: USER_AGENT,
    verify: true,
    bandwidth,
  });
  try {
    const context: CheckContext = { layout, lanes, signal, known: new Map() };
    if (options.checksums)
      return await verifyList(options.checksums === true ? layout.checksums : options.checksums, context, options);
    // An empty volume is right; of one that is not mounted somebody has to be told.
    const root = await stat(config.modelCacheDir).catch(() => null);
    if (names.length === 0 && !root?.isDirectory()) throw nothingStored();
    const chosen = names.length === 0 ? volume.entries : findAllStored(names, volume.entries, volume.uses);
    const models = chosen.map(({ model }) => model);
    const total = models.reduce((sum, model) => sum + model.bytes, 0);
    const terminal = process.stderr.isTTY && !options.json ? process.stderr : null;
    const name = models.length === 1 ? (models[0]?.location ?? "") : `${models.length} models`;
    using progress = showWork({ doing: "Verifying", done: "Verified", name }, terminal, log);
    progress.onPlan({ bytes: total, missingBytes: total, missingFiles: models.length });
    const verdicts: Verdict[] = [];
    for (const model of models) verdicts.push(await judge(model, { ...context, onBytes: progress.onBytes }));
    progress[Symbol.dispose]();
    if (options.repair && !options.dryRun) await repair(verdicts, volume, context);
    const right = verdicts.filter(({ state }) => state === "right" || state === "repaired").map(({ model }) => model);
    const others = volume.entries.map(({ model }) => model).filter((model) => !models.includes(model));
    const listed =
      options.writeChecksums && !options.dryRun
        ? await writeChecksums(layout.checksums, { checked: right, others }, context).catch((error: unknown) => {
            throw volumeError(error, layout.checksums);
          })
        : null;
    return tell(verdicts, listed, options, layout.checksums);
  } finally {
    await lanes.close();
  }
}

async function judge(model: StoredModel, context: CheckContext): Promise<Verdict> {
  const wrong = await checkFiles(model, model.files, context);
  if (wrong.length === 0) return { model, state: "right", wrong, error: null };
  if (await isChanging(model, wrong, context.layout)) return { model, state: "right", wrong: [], error: null };
  // Somebody may have removed it, or have written another revision of it, while it was read.
  const now = (await listManifests(context.layout)).find(({ key }) => key === model.key);
  if (now?.revision !== model.revision) return { model, state: "gone", wrong: [], error: null };
  return { model, state: "wrong", wrong, error: null };
}

async function repair(
  verdicts: Verdict[],
  { config, log, signal, uses }: Volume,
  { layout, lanes }: CheckContext,
): Promise<void> {
  const damaged = verdicts.filter(({ state }) => state === "wrong");
  if (damaged.length === 0) return;
  await using fetching = await openFetch(config, log, signal);
  for (const verdict of damaged) {
    const { model } = verdict;
    try {
      // Behind a name that led elsewhere there may be a blob that is wrong as well.
      for (let wrong = verdict.wrong, tries = 0; wrong.length > 0 && tries < TRIES; tries += 1) {
        await mendModel(model, wrong, uses.get(model.key)?.variant ?? null, fetching, {
          onPlan: () => undefined,
          onBytes: () => undefined,
          onShared: () => undefined,
          onNote: (message, level) => log[level](message),
        });
        wrong = await checkFiles(
          model,
          verdict.wrong.map(({ file }) => file),
          { layout, lanes, signal },
        );
        if (wrong.length === 0) verdict.state = "repaired";
      }
    } catch (error) {
      verdict.error = toMusterError(error);
    }
  }
}

function tell(verdicts: readonly Verdict[], listed: number | null, options: VerifyOptions, list: string): number {
  const damaged = verdicts.filter(({ state }) => state === "wrong");
  const data = {
    models: verdicts.map(({ model: { key, source, location, bytes: size, files }, state, wrong, error }) => ({
      ...{ key, source, location, bytes: size, files: files.length, state },
      wrong: wrong.map(({ file, what }) => ({ path: file.path, what })),
      pickles: files.filter(({ path }) => isPickle(path)).map(({ path }) => path),
      error: error?.toJSON() ?? null,
    })),
    checksums: listed === null ? null : { path: list, files: listed },
  };
  const read = verdicts.reduce((sum, { model }) => sum + model.bytes, 0);
  print(data, options, () =>
    [
      ...verdicts
        .filter(({ wrong }) => wrong.length > 0)
        .map(({ model, state, wrong }) => {
          const rows = wrong.map(({ file, what }) => [
            `  ${file.path}`,
            state === "repaired" ? `${what}; repaired` : what,
          ]);
          return `${model.source}:${nameOf(model)}\n${table(rows)}`;
        }),
      `${verdicts.length - damaged.length} of ${verdicts.length} models are right (${bytes(read)} read)`,
      // Right is what the publisher made, which may be anything.
      ...data.models
        .filter(({ pickles }) => pickles.length > 0)
        .map(({ location, pickles }) => `${location} has pickles, whose loading can run code: ${pickles.join(", ")}`),
      ...(listed === null ? [] : [`${listed} files listed in ${list}; check them with \`sha256sum -c\` there`]),
    ].join("\n"),
  );
  for (const { model, wrong, error } of damaged) {
    const count = wrong.length === 1 ? "a file that is" : `${wrong.length} files that are`;
    const failure =
      error ??
      new MusterError("MODEL_DAMAGED", `${nameOf(model)} has ${count} not as recorded.`, {
        hint: `\`muster verify ${nameOf(model)} --repair\` fetches what is wrong anew.`,
      });
    if (!options.json) printError(failure, options);
  }
  return damaged.length === 0 ? EXIT.ok : (damaged[0]?.error?.exitCode ?? EXIT.failed);
}

async function verifyList(list: string, context: CheckContext, options: VerifyOptions): Promise<number> {
  const found = await checkList(list, context);
  if (!found) {
    throw new MusterError("USAGE", `${list} cannot be read.`, {
      hint: "Write one with `muster verify --write-checksums`, or name another: `muster verify --checksums FILE`.",
    });
  }
  const { files, wrong } = found;
  print({ path: list, files, wrong }, options, () =>
    [
      ...wrong.map(({ path, what }) => `${path}: ${what}`),
      `${files - wrong.length} of ${files} files are as listed in ${list}`,
    ].join("\n"),
  );
  return wrong.length === 0 ? EXIT.ok : EXIT.failed;
}
