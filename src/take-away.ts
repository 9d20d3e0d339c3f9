import { toMusterError } from "./errors.ts";
import type { ModelKeeper } from "./fetch/keep-models.ts";
import type { Logger } from "./log.ts";
import type { ModelSpec } from "./model.ts";
import type { ServedModel } from "./serve/engines/open-engines.ts";
import type { StatusBoard } from "./status.ts";

export interface TakeAwayOptions {
  /** What stays of this worker's models. */
  others: readonly ModelSpec[];
  /** Makes engines load it no more; jobs that run keep theirs. */
  stopServing: () => void;
  keeper: Pick<ModelKeeper, "letGo">;
  /** Its engine; null where it has none, or does not serve it. */
  served: ServedModel | null;
  board: StatusBoard;
  log: Logger;
  /** Ends the wait for jobs. */
  over: AbortSignal;
}

/**
 * Takes a model from where it is fetched, loaded and served: a fetch or a load that is under way is broken off, no new job
 * is taken, those that run end by themselves, and then the engine frees its memory where it can.
 */
export async function takeAway({ id, variant }: ModelSpec, options: TakeAwayOptions): Promise<void> {
  const { others, stopServing, keeper, served, board, log, over } = options;
  const wasLoaded = ["loading", "ready"].includes(board.current.models.find((model) => model.id === id)?.state ?? "");
  stopServing();
  // Which breaks off a load that is under way, and turns new jobs away.
  if (wasLoaded) board.setModel(id, { state: "stored" });
  await keeper.letGo(id);
  await jobsOver(id, board, over);
  const isShared = others.some(
    (other) => other.variant.engine === variant.engine && other.variant.location === variant.location,
  );
  if (!wasLoaded || !served || isShared) return;
  await served.engine.unload?.(served.model, over).catch((error: unknown) => {
    log.warn(`${id} was not taken out of its engine's memory: ${toMusterError(error).message}`);
  });
}

async function jobsOver(id: string, board: StatusBoard, over: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const look = () => {
    if (over.aborted || !board.current.jobs.some(({ model }) => model === id)) resolve();
  };
  const unsubscribe = board.onChange(look);
  over.addEventListener("abort", look, { once: true });
  look();
  await promise.finally(unsubscribe);
}
