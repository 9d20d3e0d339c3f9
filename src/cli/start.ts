import { runAgent } from "../agent.ts";
import { EXIT, MusterError } from "../errors.ts";
import { type GlobalOptions, setup } from "./setup.ts";

/** `timeout`, npm and terminals signal the process and its group: what comes twice at once is one signal. */
const SAME_SIGNAL_MS = 100;

/** For the last results and the goodbye, when the time for work is over. */
const LAST_WORDS_MS = 5_000;

/**
 * `muster start [-- CMD…]`: the agent, until SIGTERM or SIGINT, after which jobs get DRAIN_TIMEOUT to end. A second signal
 * gives them back at once, a third ends the process where it stands.
 */
export async function start(engine: string[], options: GlobalOptions): Promise<number> {
  const { config, log } = setup({ logTo: "stdout", logFile: true, jsonLog: options.json });
  const stop = new AbortController();
  const hurry = new AbortController();
  let signals = 0;
  let lastAt = Number.NEGATIVE_INFINITY;
  const onSignal = (name: NodeJS.Signals) => {
    if (performance.now() - lastAt < SAME_SIGNAL_MS) return;
    lastAt = performance.now();
    signals += 1;
    if (signals === 1) {
      log.info(`${name}: draining, at most ${config.drainTimeoutMs / 1000} s; once more to end at once`);
      endAfter(config.drainTimeoutMs + LAST_WORDS_MS, "DRAIN_TIMEOUT is over; ending with work undone");
      stop.abort();
    } else if (signals === 2) {
      log.warn(`${name} again: giving back what runs`);
      endAfter(LAST_WORDS_MS, "Ending with work undone");
      hurry.abort();
    } else process.exit(EXIT.tryAgain);
  };
  const endAfter = (ms: number, why: string) => {
    setTimeout(() => {
      log.error(why);
      process.exit(EXIT.tryAgain);
    }, ms).unref();
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  try {
    const exitCode = await runAgent({ config, log, engine, signal: stop.signal, hurry: hurry.signal });
    log.info("Stopped");
    // Whoever is in a hurry does not wait for the engine either; it ends with this process.
    if (hurry.signal.aborted) process.exit(EXIT.tryAgain);
    return exitCode;
  } catch (error) {
    if (!(error instanceof MusterError)) throw error;
    log.fatal({ code: error.code, hint: error.hint }, error.message);
    return error.exitCode;
  }
}
