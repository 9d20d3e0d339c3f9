import type { ModelReport } from "../protocol.ts";
import type { ModelStatus } from "../status.ts";

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
  };
}

function whole(value: number): number {
  return Number.isFinite(value) ? Math.max(0, Math.round(value)) : 0;
}
