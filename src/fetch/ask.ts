import { type Dispatcher, fetch as undiciFetch } from "undici";
import type { MusterError } from "../errors.ts";
import { retry } from "../retry.ts";
import { VERSION } from "../system.ts";
import { type HttpSubject, httpError, networkError } from "./http-errors.ts";

/** Small questions to a source's API; bytes of models are fetched by the transfer engine. */

export const USER_AGENT = `muster/${VERSION}`;

export interface AskOptions {
  dispatcher: Dispatcher;
  /** Attempts after the first, per question. */
  retries: number;
  signal?: AbortSignal;
  onRetry?: (error: MusterError, delayMs: number) => void;
}

export interface Answer {
  text: string;
  headers: [string, string][];
}

/** The answer, read whole, asked for again while errors are of the passing kind. Throws MusterError. */
export function ask(
  url: string,
  subject: HttpSubject,
  { dispatcher, retries, signal, onRetry }: AskOptions,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const once = async () => {
    try {
      const response = await undiciFetch(url, {
        headers: { "user-agent": USER_AGENT, ...headers },
        dispatcher,
        signal,
      });
      // Read here, so that an answer that breaks off is asked for again.
      const text = await response.text();
      if (response.ok) return { text, headers: [...response.headers] };
      throw httpError({ status: response.status, url, header: (name) => response.headers.get(name), text }, subject);
    } catch (error) {
      throw networkError(error, url);
    }
  };
  return retry(once, { retries, minDelayMs: 500, maxDelayMs: 15_000, signal, onRetry });
}
