import type { ModelReport } from "../protocol.ts";
import { redact } from "../redact.ts";
import type { ModelStatus } from "../status.ts";

/** Characters of a reason. */
const LONGEST_REASON = 500;

/** A model as frames carry it. Numbers are made to fit the protocol: one odd rate must not cost the session. */
export function modelReport(model: ModelStatus): ModelReport {
  return {
    model: model.id,
    source: model.source,
    location: model.location,
    variant: model.variant,
    revision: model.revision,
    required: model.required,
    state: model.state,
    bytesDone: whole(model.bytesDone),
    bytesTotal: whole(model.bytesTotal),
    rate: whole(model.rate),
    errorCode: model.error?.code ?? null,
    error: model.error && redact(model.error.message).slice(0, LONGEST_REASON),
    ...(model.asked.length > 0 ? { asked: model.asked } : {}),
  };
}

function whole(value: number): number {
  return Number.isFinite(value) ? Math.max(0, Math.round(value)) : 0;
}
