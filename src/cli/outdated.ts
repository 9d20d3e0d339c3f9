import { EXIT } from "../errors.ts";
import { openFetch } from "../fetch/open-fetch.ts";
import { bytes } from "../fetch/progress-log.ts";
import { type Asked, askAll, namedModels } from "./find-moved.ts";
import { openVolume } from "./open-volume.ts";
import { print, printError, table } from "./output.ts";
import type { GlobalOptions } from "./setup.ts";
import { shortRevision } from "./volume-words.ts";

/** `muster outdated [MODEL…]`: which models of the volume have moved at their source. Exit code 1 where one has. */
export async function outdated(names: string[], options: GlobalOptions): Promise<number> {
  const volume = await openVolume();
  const { config, log, signal } = volume;
  // What is asked is what sources have now, whatever is locked.
  await using fetching = await openFetch({ ...config, modelsLocked: false }, log, signal);
  const asked = await askAll(await namedModels(names, volume), volume, fetching);
  const moved = asked.filter(({ state }) => state === "outdated");
  const failed = asked.flatMap(({ error }) => (error ? [error] : []));
  print({ models: asked.map(movedAsJson) }, options, () =>
    [...(moved.length > 0 ? [movedTable(moved)] : []), summary(asked)].join("\n"),
  );
  for (const error of failed) if (!options.json) printError(error, { label: "warning" });
  const again = failed.find(({ exitCode }) => exitCode === EXIT.tryAgain) ?? failed[0];
  return moved.length > 0 ? EXIT.failed : (again?.exitCode ?? EXIT.ok);
}

export function movedAsJson({ entry: { model }, state, latest, error }: Asked) {
  const { key, source, location, requestedRevision, revision } = model;
  const isMoved = state === "outdated" && latest;
  return {
    ...{ key, source, location, requestedRevision, revision, state },
    latestRevision: latest?.plan.revision ?? (state === "fixed" ? revision : null),
    changedFiles: isMoved ? latest.changed : [],
    goneFiles: isMoved ? latest.gone : [],
    bytesToFetch: isMoved ? latest.bytesToFetch : null,
    error: error?.toJSON() ?? null,
  };
}

export function movedTable(moved: readonly Asked[], head = "LATEST"): string {
  const rows = moved.map(({ entry: { model }, latest }) => [
    `${model.source}:${model.location}`,
    shortRevision(model),
    latest?.plan.revision.slice(0, 12) ?? "",
    `${latest?.changed.length ?? 0} of ${latest?.plan.files.length ?? 0}`,
    latest?.bytesToFetch === null ? "what its server lacks" : bytes(latest?.bytesToFetch ?? 0),
  ]);
  return table([["MODEL", "STORED", head, "CHANGED FILES", "TO FETCH"], ...rows]);
}

function summary(asked: readonly Asked[]): string {
  const count = (state: Asked["state"]) => asked.filter((each) => each.state === state).length;
  const notes = [
    `${count("outdated")} of ${asked.length} models have moved`,
    ...(count("fixed") > 0 ? [`${count("fixed")} are fixed to a revision`] : []),
    ...(count("failed") > 0 ? [`${count("failed")} could not be asked for`] : []),
  ];
  return notes.join(", ");
}
