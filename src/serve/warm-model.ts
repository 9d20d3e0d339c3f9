import { type ErrorData, toMusterError } from "../errors.ts";
import { jobError } from "../job.ts";
import type { ServedModel } from "./engines/open-engines.ts";

/** What an order to load a model has come to. */
export type WarmAnswer = { model: string; engine: string } | { error: ErrorData };

/** Has its engine load a model, whether or not it was; never rejects. `name`: its id, or its name at its source. */
export async function warmModel(
  name: string,
  engineOf: (name: string) => ServedModel | null,
  signal: AbortSignal,
): Promise<WarmAnswer> {
  try {
    const served = engineOf(name);
    if (!served)
      throw jobError(
        "MODEL_NOT_READY",
        `No engine of this worker serves ${name}.`,
        "See `muster status` for those that it has.",
      );
    await served.engine.warmUp(served.model, signal);
    return { model: served.model.id, engine: served.engine.url };
  } catch (error) {
    return { error: toMusterError(error).toJSON() };
  }
}
