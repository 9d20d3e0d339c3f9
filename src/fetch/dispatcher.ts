import { type Dispatcher, EnvHttpProxyAgent } from "undici";

export interface DispatcherOptions {
  connections: number;
  /** Longest wait for the first byte of an answer, and between two bytes. */
  stallTimeoutMs: number;
}

/** Connections that honour HTTP(S)_PROXY and NO_PROXY and give up when nothing comes. */
export function createDispatcher({ connections, stallTimeoutMs }: DispatcherOptions): Dispatcher {
  return new EnvHttpProxyAgent({
    connections,
    headersTimeout: stallTimeoutMs,
    bodyTimeout: stallTimeoutMs,
    connect: { timeout: Math.min(stallTimeoutMs, 15_000) },
  });
}
