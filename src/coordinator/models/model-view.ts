import type { ModelState } from "../../model.ts";
import type { ModelReport } from "../../protocol.ts";

/** requested → fetching → stored → loading → succeeded, or failed from anywhere: what all asked workers together are. */
export type RequestState = Exclude<ModelState, "ready"> | "succeeded";

/** How far one worker is. */
export interface WorkerShare extends Pick<ModelReport, "state" | "bytesDone" | "bytesTotal" | "rate"> {
  id: string;
  connected: boolean;
  error: { code: string; message: string } | null;
}

/** A model as the HTTP API shows it: asked for (`model.request`), or only found with workers. */
export interface ModelView {
  id: string;
  object: "model.request" | "model";
  state: RequestState;
  /** RFC 3339; null where nobody asked for it here. */
  createdAt: string | null;
  /** The first reason of those that have failed, once the whole has. */
  error: WorkerShare["error"];
  workers: WorkerShare[];
}

export function modelView(seen: {
  id: string;
  createdAt: number | null;
  state: RequestState;
  shares: WorkerShare[];
}): ModelView {
  const { id, createdAt, state, shares } = seen;
  return {
    id,
    object: createdAt === null ? "model" : "model.request",
    state,
    createdAt: createdAt === null ? null : new Date(createdAt).toISOString(),
    error: state === "failed" ? (shares.find(({ error }) => error !== null)?.error ?? null) : null,
    workers: shares,
  };
}
