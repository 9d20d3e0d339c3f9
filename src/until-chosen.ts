import { setTimeout as sleep } from "node:timers/promises";
import { toMusterError } from "./errors.ts";
import { isTransient } from "./fetch/sync-model.ts";
import type { Logger } from "./log.ts";
import type { ModelSpec } from "./model.ts";
import { fullJitter } from "./retry.ts";
import type { StatusBoard } from "./status.ts";

export interface UntilChosenOptions {
  own: {
    id: string;
    /** Is given what ends the pause. */
    wake: () => void;
  };
  board: StatusBoard;
  log: Logger;
  signal: AbortSignal;
  again?: { minMs: number; maxMs: number };
}

const AGAIN = { minMs: 5_000, maxMs: 300_000 };

/** Asks again what could not be asked because of trouble that passes, which is shown meanwhile. Throws all else. */
export async function untilChosen(
  choose: () => Promise<ModelSpec>,
  { own, board, log, signal, again = AGAIN }: UntilChosenOptions,
): Promise<ModelSpec> {
  for (let failures = 1; ; failures += 1) {
    try {
      return await choose();
    } catch (cause) {
      const error = toMusterError(cause);
      if (signal.aborted || !isTransient(error)) throw error;
      const woken = new AbortController();
      own.wake = () => woken.abort();
      board.setModel(own.id, { error: error.toJSON() });
      log.warn({ model: own.id, code: error.code, hint: error.hint }, error.message);
      const pause = again.minMs + fullJitter(failures, again.minMs, again.maxMs);
      await sleep(pause, undefined, { signal: AbortSignal.any([signal, woken.signal]) }).catch(() => undefined);
    }
  }
}
