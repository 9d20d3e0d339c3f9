import { runAgent } from "../agent.ts";
import { EXIT, MusterError } from "../errors.ts";
import { type GlobalOptions, setup } from "./setup.ts";

/** `timeout`, npm and terminals signal the process and its group: what comes twice at once is one signal. */
const SAME_SIGNAL_MS = 100;

/** `muster start [-- CMD…]`: the agent, until SIGTERM. A second signal ends at once with what is running; a third kills. */
export async function start(engine: string[], options: GlobalOptions): Promise<number> {
  const { config, log } = setup({ logTo: "stdout", logFile: true, jsonLog: options.json });
  const stop = new AbortController();
  let signals = 0;
  let lastAt = Number.NEGATIVE_INFINITY;
  const onSignal = (name: NodeJS.Signals) => {
    if (performance.now() - lastAt < SAME_SIGNAL_MS) return;
    lastAt = performance.now();
    signals += 1;
    if (signals === 1) {
      log.info(`${name}: draining, at most ${config.drainTimeoutMs / 1000} s; once more to end at once`);
      stop.abort();
      setTimeout(() => {
        log.error("DRAIN_TIMEOUT is over; ending with work undone");
        process.exit(EXIT.tryAgain);
      }, config.drainTimeoutMs + 5_000).unref();
    } else process.exit(signals === 2 ? EXIT.tryAgain : EXIT.failed);
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  try {
    const exitCode = await runAgent({ config, log, engine, signal: stop.signal });
    log.info("Stopped");
    return exitCode;
  } catch (error) {
    if (!(error instanceof MusterError)) throw error;
    log.fatal({ code: error.code, hint: error.hint }, error.message);
    return error.exitCode;
  }
}
