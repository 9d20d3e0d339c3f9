import type { JobKind } from "../../model.ts";
import type { Call } from "./answer.ts";
import type { KnownModel } from "./known-models.ts";
import { refusal } from "./refusal.ts";

interface Asked {
  kind: JobKind;
  /** As the request has it. */
  model: string;
}

/**
 * The name by which workers know the model, of one that nobody has yet the one that it was asked for by. Throws
 * ACCESS_REFUSED where the key may not use it.
 */
export function allowedModel(call: Call, { model }: Pick<Asked, "model">): string {
  return allowed(call, model, () => true)?.model ?? model;
}

/** Likewise. Throws, too, where no worker will ever take such a job: then it need not wait. */
export function servableModel(call: Call, { kind, model }: Asked): string {
  const { known, models } = call.gateway;
  const found = allowed(call, model, ({ kinds }) => kinds.has(kind));
  // One that has just started does not know its workers yet.
  if (known.workers === 0)
    throw refusal("MODEL_NOT_READY", "No worker is connected.", "Start one, or wait for them to come back.");
  if (!found && !models.get(model))
    throw refusal("MODEL_UNKNOWN", `The model ${model} does not exist.`, "GET /v1/models lists those that there are.");
  if (found && !found.kinds.has(kind))
    throw refusal("UNSUPPORTED", `The model ${model} does not take jobs of the kind ${kind}.`, "Use another model.");
  return found?.model ?? model;
}

/** Null where no worker has it. Before anything is refused the workers are looked at anew. */
function allowed(
  { gateway, caller }: Call,
  asked: string,
  isEnough: (found: KnownModel) => boolean,
): KnownModel | null {
  const { known, models } = gateway;
  const byName = known.find(asked, (found) => caller.mayUse([asked, ...found.names]) && isEnough(found));
  // "-" for "/" is nobody's name: a key has to name the model itself.
  const id = byName ? asked : models.get(asked)?.id;
  const found = byName ?? (id === undefined ? null : known.find(id, isEnough));
  const names = [...(found === null || found === byName ? [asked] : []), ...(found?.names ?? [])];
  if (caller.mayUse(names)) return found;
  throw refusal("ACCESS_REFUSED", `This key may not use the model ${asked}.`, "Ask who gave you the key.");
}
