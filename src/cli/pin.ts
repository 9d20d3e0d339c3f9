import { EXIT, MusterError } from "../errors.ts";
import { readManifest } from "../store/manifest.ts";
import { removePin, writePin } from "../store/pins.ts";
import { changeError } from "./change-error.ts";
import { findAllStored } from "./find-stored.ts";
import { openVolume } from "./open-volume.ts";
import { print } from "./output.ts";
import type { GlobalOptions } from "./setup.ts";

export interface PinOptions extends GlobalOptions {
  dryRun?: boolean;
}

/** `muster pin MODEL…` and `unpin`: what is pinned neither `prune` nor `remove` takes, nor `update` as too old. */
export async function pin(command: "pin" | "unpin", names: string[], options: PinOptions): Promise<number> {
  const { config, layout, entries, uses, audit } = await openVolume();
  const chosen = findAllStored(names, entries, uses);
  const { dryRun = false } = options;
  const wanted = command === "pin";
  for (const { model, pin: before } of dryRun ? [] : chosen) {
    try {
      if (!wanted) await removePin(layout, model.key);
      else await writePin(layout, model.key);
    } catch (error) {
      throw changeError(error, config.modelCacheDir, command);
    }
    // A removal may have begun before it.
    if (!wanted || (await readManifest(layout, model.key))) {
      if ((before !== null) !== wanted) await audit.note({ action: wanted ? "pinned" : "unpinned", model, files: [] });
      continue;
    }
    await removePin(layout, model.key);
    throw new MusterError("MODEL_UNKNOWN", `${model.location} was just removed.`, {
      hint: `\`muster sync\` fetches it again; \`muster list\` shows what there is.`,
    });
  }
  const models = chosen.map(({ model: { key, source, location, revision }, pin: before }) => ({
    ...{ key, source, location, revision },
    pinned: dryRun ? before !== null : wanted,
    changed: (before !== null) !== wanted,
  }));
  const verb = wanted ? (dryRun ? "Would pin" : "Pinned") : dryRun ? "Would unpin" : "Unpinned";
  print({ models, dryRun }, options, () =>
    models
      .map(({ source, location, revision }) => `${verb} ${source}:${location} (${revision.slice(0, 12)})`)
      .join("\n"),
  );
  return EXIT.ok;
}
