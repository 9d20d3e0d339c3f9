import { setTimeout as sleep } from "node:timers/promises";
import { MusterError } from "../../errors.ts";

const BUSY_MS = 1_000;

/** Loads a model, again and again while its engine says that it is busy: llama.cpp's answers so while it loads. */
export async function unlessBusy(signal: AbortSignal, load: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      return await load();
    } catch (error) {
      if (!(error instanceof MusterError && error.code === "BUSY")) throw error;
      await sleep(BUSY_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }
}
