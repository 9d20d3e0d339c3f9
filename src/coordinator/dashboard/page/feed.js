import { ApiError, call } from "./session.js";
import { events } from "./sse.js";

/**
 * @typedef {{ state: "connecting" | "live" } | { state: "waiting", retryMs: number } | { state: "refused", message: string }} Connection
 * @typedef {{ onEvent: (event: string, data: any) => void, onConnection: (connection: Connection) => void }} FeedCalls
 */

const MOST_WAIT_MS = 30_000;
/** The coordinator shows every 15 s that it is there. */
const SILENCE_MS = 45_000;
/** A page that nobody sees lets go of the stream after this long. */
const HIDDEN_MS = 60_000;

/**
 * The feed of the fleet: connects by itself as long as it runs, with longer and longer waits between vain tries.
 * @param {FeedCalls} calls
 */
export function startFeed({ onEvent, onConnection }) {
  let current = new AbortController();
  let tries = 0;
  let stopped = false;
  let isAsleep = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let hiddenTimer;

  const connect = async () => {
    clearTimeout(timer);
    const mine = new AbortController();
    current = mine;
    onConnection({ state: "connecting" });
    try {
      await take(mine);
    } catch (error) {
      if (error instanceof ApiError && error.isRefusal) {
        stop();
        return onConnection({ state: "refused", message: error.message });
      }
    }
    if (stopped || isAsleep || mine !== current) return;
    const retryMs = (0.5 + Math.random() / 2) * Math.min(MOST_WAIT_MS, 1000 * 2 ** tries);
    tries += 1;
    onConnection({ state: "waiting", retryMs });
    timer = setTimeout(connect, retryMs);
  };

  /** @param {AbortController} controller */
  const take = async (controller) => {
    const { signal } = controller;
    const silent = () => controller.abort();
    const response = await call("/v1/fleet/events", { signal });
    if (!response.body) throw new Error("The answer has no body");
    let watchdog = setTimeout(silent, SILENCE_MS);
    try {
      for await (const news of events(response.body)) {
        clearTimeout(watchdog);
        watchdog = setTimeout(silent, SILENCE_MS);
        if (signal.aborted) return;
        if (!news) continue;
        if (news.event === "hello") tries = 0;
        onEvent(news.event, JSON.parse(news.data));
        if (news.event === "complete") onConnection({ state: "live" });
      }
    } finally {
      clearTimeout(watchdog);
    }
  };

  const onVisible = () => {
    clearTimeout(hiddenTimer);
    if (document.hidden) {
      hiddenTimer = setTimeout(() => {
        isAsleep = true;
        current.abort();
        clearTimeout(timer);
      }, HIDDEN_MS);
    } else if (isAsleep) {
      isAsleep = false;
      void connect();
    }
  };
  const onOnline = () => {
    if (timer !== undefined && !isAsleep) retry();
  };
  const retry = () => {
    tries = 0;
    current.abort();
    void connect();
  };
  const stop = () => {
    stopped = true;
    current.abort();
    clearTimeout(timer);
    clearTimeout(hiddenTimer);
    document.removeEventListener("visibilitychange", onVisible);
    removeEventListener("online", onOnline);
  };
  document.addEventListener("visibilitychange", onVisible);
  addEventListener("online", onOnline);
  void connect();
  return { stop };
}
