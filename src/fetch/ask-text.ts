import { type Dispatcher, fetch as undiciFetch } from "undici";
import type { MusterError } from "../errors.ts";
import { retry } from "../retry.ts";
import { type HttpSubject, httpError, networkError } from "./http-errors.ts";

export interface AskOptions {
  dispatcher: Dispatcher;
  userAgent: string;
  /** Attempts after the first. */
  retries: number;
  signal?: AbortSignal;
  accept?: string;
  onRetry?: (error: MusterError, delayMs: number) => void;
}

/** A small answer, read whole, asked for again while errors are of the passing kind. Sends no credentials. */
export function askText(url: string, subject: HttpSubject, options: AskOptions): Promise<string> {
  const { dispatcher, userAgent, accept = "*/*", signal, retries, onRetry } = options;
  const ask = async () => {
    try {
      const response = await undiciFetch(url, { headers: { "user-agent": userAgent, accept }, dispatcher, signal });
      const text = await response.text();
      if (response.ok) return text;
      throw httpError({ status: response.status, url, header: (name) => response.headers.get(name), text }, subject);
    } catch (error) {
      throw networkError(error, url);
    }
  };
  return retry(ask, { retries, minDelayMs: 500, maxDelayMs: 15_000, signal, onRetry });
}
