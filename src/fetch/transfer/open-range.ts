import { type Dispatcher, request } from "undici";
import { MusterError } from "../../errors.ts";
import type { Range } from "../../store/ranges.ts";
import { httpError, networkError } from "../http-errors.ts";

const MAX_REDIRECTS = 5;

/** Where the bytes of one file come from. `direct` is remembered, so that one signed URL serves all ranges. */
export interface RangeSource {
  url: string;
  authorization: string | null;
  name: string;
  page: string;
  size: number;
  direct: string | null;
  /** Of the direct URL's answers; a change in the middle means that other bytes are served. */
  etag: string | null;
  userAgent: string;
  /** The URL itself grants access. */
  signed: boolean;
}

export type OpenedRange =
  | { body: AsyncIterable<Uint8Array> & { destroy(): unknown }; rangeIgnored: false }
  | { rangeIgnored: true };

/**
 * Asks for a range and checks that the answer is that range. The token goes to the source's own origin only. An origin
 * behind a redirect that refuses (an expired signature) gives REDIRECT_EXPIRED and is resolved anew by the next call.
 */
export async function openRange(
  source: RangeSource,
  range: Range,
  dispatcher: Dispatcher,
  signal: AbortSignal,
): Promise<OpenedRange> {
  const origin = new URL(source.url).origin;
  const whole = range.start === 0 && range.end === source.size;
  let url = source.direct ?? source.url;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
    const atOrigin = new URL(url).origin === origin;
    const response = await request(url, {
      dispatcher,
      signal,
      headers: {
        "user-agent": source.userAgent,
        "accept-encoding": "identity",
        ...(whole ? {} : { range: `bytes=${range.start}-${range.end - 1}` }),
        ...(atOrigin && source.authorization ? { authorization: source.authorization } : {}),
      },
    }).catch((error: unknown) => {
      throw networkError(error, url);
    });
    const header = (name: string) => {
      const value = response.headers[name];
      return (Array.isArray(value) ? value[0] : value) ?? null;
    };
    const location = header("location");
    if (response.statusCode >= 300 && response.statusCode < 400 && location) {
      await response.body.dump().catch(() => undefined);
      url = new URL(location, url).href;
      continue;
    }
    if (response.statusCode !== 200 && response.statusCode !== 206) {
      const text = await response.body.text().catch(() => "");
      if ((!atOrigin || source.signed) && [400, 401, 403, 404, 410].includes(response.statusCode)) {
        forget(source, url);
        throw new MusterError(
          "REDIRECT_EXPIRED",
          `${new URL(url).host} refuses the link to ${source.name} (${response.statusCode}).`,
          {
            hint: "A new link is asked for. If it stays so, check the clock of this machine and of the server.",
          },
        );
      }
      const subject = { name: source.name, page: source.page, tokenSent: source.authorization !== null };
      throw httpError({ status: response.statusCode, url, header, text }, subject);
    }
    const opened = checkAnswer(source, range, response.statusCode, header);
    if (typeof opened === "string") {
      response.body.destroy();
      const error = invalid(source, opened);
      // Which of two answers was the wrong one only the digest can tell; a server that had one bad answer gets on.
      forget(source, url);
      throw error;
    }
    source.direct = url;
    source.etag = header("etag");
    if (opened.rangeIgnored) response.body.destroy();
    return opened.rangeIgnored ? { rangeIgnored: true } : { rangeIgnored: false, body: response.body };
  }
  throw invalid(source, `more than ${MAX_REDIRECTS} redirects`);
}

/** The next call asks the source itself again; unless it did already and knows better. */
function forget(source: RangeSource, url: string): void {
  if (source.direct !== url) return;
  source.direct = null;
  source.etag = null;
}

/** What is wrong with the answer, in words, or whether the server ignored the range. */
function checkAnswer(
  source: RangeSource,
  range: Range,
  status: number,
  header: (name: string) => string | null,
): string | { rangeIgnored: boolean } {
  const etag = header("etag");
  if (source.direct && source.etag && etag && etag !== source.etag)
    return `another file in the middle of this one (ETag ${source.etag}, then ${etag})`;
  if (header("content-encoding") && header("content-encoding") !== "identity")
    return `a ${header("content-encoding")} encoding that nobody asked for`;
  const length = header("content-length");
  if (status === 206) {
    const found = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(header("content-range") ?? "");
    const fits = found && Number(found[1]) === range.start && Number(found[2]) === range.end - 1;
    if (!fits || (found[3] !== "*" && Number(found[3]) !== source.size)) {
      return `Content-Range ${header("content-range")} instead of bytes ${range.start}-${range.end - 1}/${source.size}`;
    }
    if (length !== null && Number(length) !== range.end - range.start)
      return `${length} bytes instead of ${range.end - range.start}`;
    return { rangeIgnored: false };
  }
  if (length !== null && Number(length) !== source.size) return `${length} bytes instead of ${source.size}`;
  return { rangeIgnored: range.start !== 0 || range.end !== source.size };
}

export function invalid(source: RangeSource, what: string): MusterError {
  return new MusterError(
    "RESPONSE_INVALID",
    `${new URL(source.direct ?? source.url).host} answered for ${source.name} with ${what}.`,
    {
      hint: "It is tried again; if it stays so, a proxy or mirror in between is at fault: try another HF_ENDPOINT.",
    },
  );
}
