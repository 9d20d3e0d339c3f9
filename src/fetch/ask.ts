import { MusterError } from "../errors.ts";
import { LONG_WAIT_MS, retry } from "../retry.ts";
import { VERSION } from "../system.ts";
import type { HttpClient, HttpReply } from "./http-client.ts";
import { type HttpSubject, httpError, networkError } from "./http-errors.ts";

/** Small questions to a source's API; bytes of models are fetched by the transfer engine. */

export const USER_AGENT = `muster/${VERSION}`;

export interface AskOptions {
  client: HttpClient;
  /** Attempts after the first, per question. */
  retries: number;
  /** A server that asks for a longer wait is not asked again. */
  mostWaitMs?: number;
  signal?: AbortSignal;
  onRetry?: (error: MusterError, delayMs: number) => void;
  /** What a 401 says of how to be let in (WWW-Authenticate). */
  onChallenge?: (challenge: string) => void;
}

/** Where there is somebody else to ask, nobody is asked for long. */
export function briefly<Options extends Pick<AskOptions, "retries">>(
  options: Options,
): Options & { mostWaitMs: number } {
  return { ...options, retries: Math.min(1, options.retries), mostWaitMs: LONG_WAIT_MS };
}

export interface Answer {
  text: string;
  headers: [string, string][];
}

type Headers = Record<string, string>;

/** The answer, read whole, asked for again while errors are of the passing kind. Throws MusterError. */
export function ask(url: string, subject: HttpSubject, options: AskOptions, headers: Headers = {}): Promise<Answer> {
  const read = async (reply: HttpReply) => ({ text: await textOf(reply), headers: reply.headers });
  return question(url, subject, options, headers, read);
}

/** The first bytes of a file: `length` of them, or all where it is shorter. Throws MusterError. */
export function askStart(
  url: string,
  length: number,
  subject: HttpSubject,
  options: AskOptions,
  headers: Headers = {},
): Promise<Buffer> {
  const range = { range: `bytes=0-${length - 1}` };
  return question(url, subject, options, { ...headers, ...range }, async ({ body }) => {
    const chunks: Buffer[] = [];
    let count = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      count += chunk.length;
      // Of a server that sends whole files the rest is not waited for.
      if (count >= length) break;
    }
    return Buffer.concat(chunks).subarray(0, length);
  });
}

function question<T>(
  url: string,
  subject: HttpSubject,
  { client, onChallenge, ...options }: AskOptions,
  headers: Headers,
  read: (reply: HttpReply) => Promise<T>,
): Promise<T> {
  const once = async () => {
    try {
      const reply = await client.get(url, {
        headers: { "user-agent": USER_AGENT, ...headers },
        signal: options.signal,
      });
      const { status, header } = reply;
      // Read here, so that an answer that breaks off is asked for again.
      if (status >= 200 && status < 300) return await read(reply);
      const text = await textOf(reply);
      if (reply.url.origin !== new URL(url).origin && [400, 401, 403, 404, 410].includes(status))
        throw linkRefused(reply, subject);
      if (status === 401) onChallenge?.(header("www-authenticate") ?? "");
      throw httpError({ status, url, header, text }, subject);
    } catch (error) {
      throw networkError(error, url);
    }
  };
  return retry(once, { ...options, minDelayMs: 500, maxDelayMs: 15_000 });
}

async function textOf({ body }: HttpReply): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of body as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** What a redirect led to grants access by itself, and for a time: asked again, the source gives another. */
export function linkRefused({ url, status }: Pick<HttpReply, "url" | "status">, { name }: HttpSubject): MusterError {
  return new MusterError("REDIRECT_EXPIRED", `${url.host} refuses the link to ${name} (${status}).`, {
    hint: "A new link is asked for. If it stays so, check the clock of this machine and of the server.",
  });
}
