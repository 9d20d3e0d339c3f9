import { MusterError } from "../../errors.ts";
import type { StoredModel, Variant } from "../../model.ts";
import { isKept } from "../../store/kept-revisions.ts";
import type { Layout } from "../../store/layout.ts";
import { findComplete, isComplete, listManifests } from "../../store/manifest.ts";

/**
 * The complete model that a name means: the catalog's model in its best variant that is on the volume, else whatever the
 * volume has from that location. Throws MODEL_INCOMPLETE, or MODEL_UNKNOWN.
 */
export async function findModel(name: string, variants: readonly Variant[], layout: Layout): Promise<StoredModel> {
  for (const variant of variants) {
    const stored = await findComplete(layout, variant);
    if (stored) return supported(stored);
  }
  const records = (await listManifests(layout)).filter((record) => record.location === name && !isKept(record));
  for (const record of records) if (await isComplete(layout, record)) return supported(record);
  if (variants.length > 0 || records.length > 0) {
    throw new MusterError("MODEL_INCOMPLETE", `${name} is not complete on the volume.`, {
      hint: `Run \`muster sync ${name}\` first, then push again.`,
    });
  }
  const known = (await listManifests(layout)).map(({ location }) => location);
  throw new MusterError("MODEL_UNKNOWN", `Neither the catalog nor the volume has a model ${JSON.stringify(name)}.`, {
    hint: `\`muster list\` shows what is on the volume: ${[...new Set(known)].join(", ") || "nothing"}.`,
  });
}

function supported(stored: StoredModel): StoredModel {
  if (stored.source !== "ollama") return stored;
  throw new MusterError("SOURCE_UNSUPPORTED", `${stored.location} is an Ollama model, and these are not pushed.`, {
    hint: "Let workers share the volume, or a registry of your own: see OLLAMA_MODELS in docs/configuration.md.",
  });
}
