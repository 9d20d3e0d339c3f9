import { MusterError } from "../errors.ts";
import { FORMATS, plainVariant, type StoredModel, type Variant } from "../model.ts";
import { manifestKey } from "../store/manifest.ts";
import type { ModelSource } from "./hold-lease.ts";

/** Where a record's files are had from. Of a variant that no catalog has only the source and its names are needed for that. */
export function recordSource(record: StoredModel, known: Variant | null): ModelSource {
  const { key, source, location, requestedRevision, quantization, license } = record;
  const variant = known ?? plainVariant({ id: key, source, location, revision: requestedRevision, quantization });
  return { variant, license };
}

/**
 * The variant that a record was made of: which of its source's files make up the model. What no catalog here has is
 * recognized where nothing special was chosen. Throws MODEL_UNKNOWN.
 */
export function recordVariant(record: StoredModel, known: Variant | null): Variant {
  if (known) return known;
  const { key, source, location, requestedRevision: revision } = record;
  for (const format of FORMATS) {
    for (const quantization of new Set([record.quantization, null])) {
      for (const allowPickle of [false, true]) {
        const variant = plainVariant({ id: key, source, location, revision, format, quantization, allowPickle });
        if (manifestKey(variant) === key) return variant;
      }
    }
  }
  throw new MusterError("MODEL_UNKNOWN", `Which files of ${location} make up this model no catalog here says.`, {
    hint: `Name the catalog that has it with WORKER_TYPES_FILE; \`muster show ${key}\` lists the files that are there.`,
  });
}
