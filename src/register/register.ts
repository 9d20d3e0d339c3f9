import { setTimeout as sleep } from "node:timers/promises";
import { MusterError, toMusterError } from "../errors.ts";
import type { JobRunner } from "../job.ts";
import { CLOSE, FINAL_CLOSE_CODES, PROTOCOL_DEFAULTS } from "../protocol.ts";
import { type Connection, type ConnectOptions, connect } from "./connection.ts";
import { openJobDesk } from "./job-desk.ts";
import type { Outbox } from "./outbox.ts";
import { createReconnectDelay } from "./reconnect-delay.ts";
import { runSession, type SessionEnd } from "./session.ts";
import type { SessionContext } from "./session-context.ts";
import { createVitals, type VitalsSources } from "./vitals.ts";

export { type Outbox, openOutbox } from "./outbox.ts";
export type { Command } from "./session-context.ts";
export type { GpuUsage } from "./vitals.ts";

export interface RegistrationOptions
  extends Pick<SessionContext, "url" | "board" | "log" | "onCommand">,
    Pick<ConnectOptions, "token" | "ca" | "certificate" | "signal">,
    VitalsSources {
  runner: JobRunner;
  /** Stays open for as long as the registration; whoever opened it closes it. */
  outbox: Outbox;
  /** What jobs get to end when the worker drains; 25 s where not given. */
  drainTimeoutMs?: number;
  /** The window of the delay between two connections; 1 s to 60 s where not given. */
  reconnect?: { minMs: number; maxMs: number };
  handshakeTimeoutMs?: number;
  helloTimeoutMs?: number;
}

export interface Registration {
  /**
   * Tells the coordinator that this worker ends its work and takes no more. Settles when the jobs in flight are over and
   * their results acknowledged, or time is up: what then still runs is given back.
   */
  drain(reason: string): Promise<void>;
  /** Gives the jobs in flight back at once. */
  release(): void;
  /** Says goodbye, closes and stops registering; settles within seconds even if the coordinator is gone. */
  bye(reason: string): Promise<void>;
  /** Never rejects. An error where the coordinator wants this worker no more; null after `bye` or the signal. */
  readonly ended: Promise<MusterError | null>;
}

interface Outcome {
  error: MusterError;
  /** Trying again would not help. */
  final: boolean;
  held: boolean;
  slow: boolean;
}

/** Keeps this worker registered: connects, holds the session, and comes back for ever. The hardware has to be known. */
export function startRegistration(options: RegistrationOptions): Registration {
  const leaving = new AbortController();
  const signal = AbortSignal.any([options.signal, leaving.signal]);
  const vitals = createVitals(options, options.log);
  const desk = openJobDesk(options);
  let drained: Promise<void> | null = null;
  let connection: Connection | null = null;

  const attempt = async (): Promise<Outcome> => {
    try {
      connection = await connect({
        handshakeTimeoutMs: PROTOCOL_DEFAULTS.helloTimeoutMs,
        ...options,
        signal,
      });
      return outcomeOf(
        await runSession(connection, { helloTimeoutMs: PROTOCOL_DEFAULTS.helloTimeoutMs, ...options, vitals, desk }),
      );
    } catch (cause) {
      const error = toMusterError(cause);
      return { error, final: error.code === "INTERNAL", held: false, slow: error.code === "COORDINATOR_REFUSED" };
    } finally {
      connection = null;
    }
  };
  const run = async (): Promise<MusterError | null> => {
    const delay = createReconnectDelay(options.reconnect ?? { minMs: 1_000, maxMs: 60_000 });
    const { url, board, log } = options;
    let last = "";
    vitals.refresh();
    board.setCoordinator({ url });
    while (!signal.aborted) {
      const { error, final, held, slow } = await attempt();
      if (signal.aborted) break;
      board.setCoordinator({ url, connected: false, error: `${error.message} ${error.hint}` });
      if (final) return error;
      const next = delay.next({ held, slow });
      // What repeats with every try is said once; a refusal each time, because it seldom heals by itself.
      const repeats = error.message === last && !held;
      const level = error.code === "COORDINATOR_REFUSED" ? "error" : repeats ? "debug" : "warn";
      log[level]({ ...next, code: error.code, hint: error.hint }, error.message);
      last = error.message;
      await sleep(next.delayMs, undefined, { signal }).catch(() => undefined);
    }
    board.setCoordinator({ url, connected: false, error: null });
    return null;
  };
  const ended = run()
    .catch(toMusterError)
    .finally(() => desk.abandon("this worker is registered no more"));
  return {
    ended,
    drain(reason) {
      if (!drained) {
        connection?.send({ t: "drain", reason });
        drained = desk.drain(options.drainTimeoutMs ?? 25_000);
      }
      return drained;
    },
    release: () => desk.release(),
    async bye(reason) {
      connection?.send({ t: "bye", reason });
      connection?.close(1000, "bye");
      leaving.abort();
      await ended;
    },
  };
}

function outcomeOf({ code, reason, by, held }: SessionEnd): Outcome {
  const why = `${code}${reason ? `: ${reason}` : ""}`;
  const sentence = FINAL_CLOSE_CODES[code];
  if (by === "worker" || sentence === undefined) {
    const error = new MusterError(
      "COORDINATOR_UNREACHABLE",
      by === "worker"
        ? `This worker closed the connection to the coordinator (${why}).`
        : `The connection to the coordinator was closed (${why}).`,
      {
        hint: "This worker connects again by itself; the coordinator's log tells more.",
        details: { closeCode: code },
      },
    );
    return { error, final: false, held, slow: code === CLOSE.tryAgainLater };
  }
  const superseded = code === CLOSE.superseded;
  const error = new MusterError(superseded ? "SUPERSEDED" : "COORDINATOR_REFUSED", `Stopped: ${sentence} (${why}).`, {
    hint: superseded
      ? "Give each worker its own WORKER_ID and STATE_DIR, or stop the other agent, then start this one again."
      : "Ask the operator of the coordinator, then start this worker again.",
    details: { closeCode: code },
  });
  return { error, final: true, held, slow: false };
}
