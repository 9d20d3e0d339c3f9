import type { IncomingMessage } from "node:http";
import { json } from "node:stream/consumers";
import * as z from "zod";
import { MusterError } from "../../errors.ts";
import type { FileSpec } from "../../model.ts";
import { registerSecret } from "../../redact.ts";
import type { Range } from "../../store/ranges.ts";
import { type AskOptions, ask, linkRefused, USER_AGENT } from "../ask.ts";
import type { HttpClient, HttpReply } from "../http-client.ts";
import { type HttpSubject, httpError, networkError } from "../http-errors.ts";
import type { ByteStream } from "../origin.ts";
import { authorization, type HubEndpoint, invalidAnswer, resolveUrl, subjectOf } from "./hub-api.ts";

/** Xet holds files as chunks in blocks that they share. The hub library puts them together. */

/** Accepted, it has the hub tell of a file in Xet instead of redirecting to its bytes. */
const XET_TYPE = "application/vnd.xet-fileinfo+json";
const xetName = z.stringFormat("Xet hash", /^[0-9a-f]{64}$/);
const xetToken = z.object({
  accessToken: z.string().min(1),
  casUrl: z.url({ protocol: /^https?$/ }),
  exp: z.number(),
});

export interface HubFile {
  repo: string;
  commit: string;
  file: FileSpec;
}

/** The file as Xet has it, or null where the hub does not say that it does. Throws MusterError, or the system's error. */
export async function xetStream(
  { repo, commit, file }: HubFile,
  hub: HubEndpoint,
  options: AskOptions,
): Promise<ByteStream | null> {
  const { client, signal } = options;
  // Git keeps the others itself.
  if (file.digest.algorithm !== "sha256") return null;
  const url = resolveUrl(hub.endpoint, repo, commit, file.path);
  const headers = { ...authorization(hub), accept: XET_TYPE, range: "bytes=0-0", "user-agent": USER_AGENT };
  // Once: where the hub is in trouble itself, this is no way out. And not where a redirect leads to: that is what failed.
  const { header, body } = await client.get(url, { headers, signal, follow: false });
  body.destroy();
  const hash = xetName.safeParse(header("x-xet-hash"));
  if (!hash.success) return null;
  const subject = { ...subjectOf(repo, hub), name: `${repo}: ${file.path}` };
  const tokenUrl = `${hub.endpoint}/api/models/${repo}/xet-read-token/${commit}`;
  const found: XetFile = {
    hash: hash.data,
    size: file.size,
    tokenUrl,
    async askToken() {
      const { text } = await ask(tokenUrl, subject, options, authorization(hub));
      const token = toToken(text);
      if (!token) throw invalidAnswer(tokenUrl, "something else than a token for Xet");
      registerSecret(token.accessToken);
      return token;
    },
    client,
    subject,
  };
  return { name: "Xet", read: (range, until) => readXet(found, range, until) };
}

interface XetFile {
  /** Xet's own name for the content; no digest that could be checked. */
  hash: string;
  size: number;
  /** Where the hub gives the token that Xet wants: what the library asks there is asked by us. */
  tokenUrl: string;
  askToken(): Promise<z.output<typeof xetToken>>;
  client: HttpClient;
  subject: HttpSubject;
}

async function* readXet(file: XetFile, { start, end }: Range, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const { XetBlob } = await import("./hub-library.ts");
  const done = new AbortController();
  const fetch = xetFetch(file, AbortSignal.any([signal, done.signal]));
  const { hash, size, tokenUrl: refreshUrl } = file;
  // In its parallel mode the library keeps whole blocks in memory.
  const blob = new XetBlob({ hash, size, refreshUrl, fetch, parallelDownloads: false }).slice(start, end);
  try {
    // Its `stream()` makes mere texts of errors.
    yield* (await blob.response()).body ?? [];
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof MusterError ? error : notThatFile(file, error);
  } finally {
    // The library leaves a connection open where nobody reads on.
    done.abort();
  }
}

/** What the library takes for `fetch`: our own connections, and errors in our own words. */
function xetFetch({ tokenUrl, askToken, client, subject }: XetFile, signal: AbortSignal): typeof fetch {
  const request = async (input: string, { headers: given }: RequestInit = {}) => {
    if (input === tokenUrl) {
      const token = await askToken();
      return { ok: true, json: async () => token };
    }
    const headers = { ...Object.fromEntries(new Headers(given)), "user-agent": USER_AGENT };
    const reply = await client.get(input, { headers, signal }).catch((error: unknown) => {
      throw networkError(error, input);
    });
    const { status, header, body } = reply;
    if (status < 200 || status > 299) throw refusal(reply, subject);
    const bytes = bytesOf(body, input);
    return {
      ok: true,
      status,
      headers: { get: (name: string) => header(name.toLowerCase()) },
      body: ReadableStream.from(bytes),
      json: () => json(bytes),
    };
  };
  return request as unknown as typeof fetch;
}

async function* bytesOf(body: IncomingMessage, url: string): AsyncGenerator<Uint8Array> {
  try {
    // As plain arrays: the library takes slices for copies, which those of a Buffer are not.
    for await (const { buffer, byteOffset, byteLength } of body as AsyncIterable<Buffer>)
      yield new Uint8Array(buffer, byteOffset, byteLength);
  } catch (error) {
    throw networkError(error, url);
  }
}

function toToken(text: string): z.output<typeof xetToken> | null {
  try {
    return xetToken.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

function refusal(reply: HttpReply, subject: HttpSubject): MusterError {
  const { status, url, header, body } = reply;
  body.destroy();
  const isPassing = status >= 500 || status === 408 || status === 429;
  return isPassing ? httpError({ status, url: url.href, header }, subject) : linkRefused(reply, subject);
}

function notThatFile({ subject }: XetFile, cause: unknown): MusterError {
  const said = cause instanceof Error ? cause.message : String(cause);
  return new MusterError("RESPONSE_INVALID", `Xet's answer is not ${subject.name}: ${said}.`, {
    hint: "It is tried again; if it stays so, try another HF_ENDPOINT.",
    cause,
  });
}
