import { MusterError } from "../../errors.ts";
import type { Digest } from "../../model.ts";
import type { Range } from "../../store/ranges.ts";
import { httpError } from "../http-errors.ts";
import type { ConnectionPool } from "./connection-pool.ts";
import type { ResponseHead, ResponseSink } from "./http-connection.ts";
import type { Slot } from "./slots.ts";

const MAX_REDIRECTS = 5;
/** Of an answer that is no range: enough for the words of an error. */
const TEXT_BYTES = 64 << 10;

/** Where the bytes of one file come from. `direct` is remembered, so that one signed URL serves all ranges. */
export interface RangeSource {
  url: string;
  authorization: string | null;
  /** The URL itself grants access: a refusal means that it has expired. */
  signed: boolean;
  name: string;
  page: string;
  settings?: { endpoint: string; token: string | null };
  size: number;
  direct: string | null;
  /** Of the direct URL's answers; a change in the middle means that other bytes are served. */
  etag: string | null;
}

/** Takes the bytes of a range as they come. */
export interface RangeWriter {
  write(slot: Slot, bytes: Buffer): Promise<void> | null;
  flush(): Promise<void> | null;
}

/**
 * Asks for a range, checks that the answer is that range, and hands its bytes on. The token goes to the source's own
 * origin only. A link that served other ranges and is refused now has expired: a new one is asked for. One that is new
 * and refused gives REDIRECT_EXPIRED. `ignored` when the server sends whole files only.
 */
export async function openRange(
  source: RangeSource,
  range: Range,
  writer: RangeWriter,
  tools: RangeTools,
): Promise<"done" | "ignored"> {
  const { direct } = source;
  if (direct === null) return follow(source, range, writer, tools);
  try {
    return await follow(source, range, writer, { ...tools, from: direct });
  } catch (error) {
    if (!(error instanceof MusterError) || error.code !== "REDIRECT_EXPIRED" || direct === source.url) throw error;
    return follow(source, range, writer, tools);
  }
}

interface RangeTools {
  pool: ConnectionPool;
  signal: AbortSignal;
}

async function follow(
  source: RangeSource,
  range: Range,
  writer: RangeWriter,
  { pool, signal, from = source.url }: RangeTools & { from?: string },
): Promise<"done" | "ignored"> {
  const { origin } = new URL(source.url);
  const whole = range.start === 0 && range.end === source.size;
  let url = new URL(from);
  for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
    const atOrigin = url.origin === origin;
    const answer = new RangeAnswer(source, range, url, writer);
    const headers = {
      "accept-encoding": "identity",
      ...(whole ? {} : { range: `bytes=${range.start}-${range.end - 1}` }),
      ...(atOrigin && source.authorization ? { authorization: source.authorization } : {}),
    };
    try {
      await pool.get(url, headers, answer, signal);
    } catch (error) {
      if (error === RANGE_IGNORED) return "ignored";
      if (error !== TEXT_IS_LONG) throw error;
    }
    const location = answer.location();
    if (location === null) return "done";
    url = location;
  }
  throw invalid(source, `more than ${MAX_REDIRECTS} redirects`);
}

const RANGE_IGNORED = Symbol("range ignored");
const TEXT_IS_LONG = Symbol("text is long");

/** One answer: the range, a redirect, or a refusal. */
class RangeAnswer implements ResponseSink {
  readonly #source: RangeSource;
  readonly #range: Range;
  readonly #url: URL;
  readonly #writer: RangeWriter;
  #head: ResponseHead | null = null;
  #isRange = false;
  #text: Buffer[] = [];
  #textBytes = 0;

  constructor(source: RangeSource, range: Range, url: URL, writer: RangeWriter) {
    this.#source = source;
    this.#range = range;
    this.#url = url;
    this.#writer = writer;
  }

  onHead(head: ResponseHead): void {
    this.#head = head;
    if (head.status !== 200 && head.status !== 206) return;
    const source = this.#source;
    const wrong = checkAnswer(source, this.#range, head);
    if (wrong !== null) {
      const error = invalid(source, wrong);
      // Which of two answers was the wrong one only the digest can tell; a server that had one bad answer gets on.
      forget(source, this.#url);
      throw error;
    }
    source.direct = this.#url.href;
    source.etag = head.header("etag");
    if (head.status === 200 && (this.#range.start !== 0 || this.#range.end !== source.size)) throw RANGE_IGNORED;
    this.#isRange = true;
  }

  onBody(slot: Slot, bytes: Buffer): Promise<void> | null {
    if (this.#isRange) return this.#writer.write(slot, bytes);
    this.#textBytes += bytes.length;
    // A long text is not worth waiting for: the connection is given up instead.
    if (this.#textBytes > TEXT_BYTES) throw TEXT_IS_LONG;
    this.#text.push(Buffer.from(bytes));
    return null;
  }

  flush(): Promise<void> | null {
    return this.#isRange ? this.#writer.flush() : null;
  }

  /** Where to ask instead; null when the range has come. Throws the refusal as a MusterError. */
  location(): URL | null {
    if (this.#isRange || !this.#head) return null;
    const { status, header } = this.#head;
    const location = header("location");
    const source = this.#source;
    if (status >= 300 && status < 400 && location) {
      // Servers that name files in other scripts send the bytes of UTF-8.
      const url = URL.parse(Buffer.from(location, "latin1").toString(), this.#url.href);
      if (!url || !/^https?:$/.test(url.protocol)) throw invalid(source, "a redirect to what is no web address");
      return url;
    }
    const elsewhere = this.#url.origin !== new URL(source.url).origin;
    if ((elsewhere || source.signed) && [400, 401, 403, 404, 410].includes(status)) {
      forget(source, this.#url);
      throw new MusterError("REDIRECT_EXPIRED", `${this.#url.host} refuses the link to ${source.name} (${status}).`, {
        hint: "A new link is asked for. If it stays so, check the clock of this machine and of the server.",
      });
    }
    const { name, page, settings, authorization } = source;
    const subject = { name, page, settings, tokenSent: authorization !== null };
    const text = Buffer.concat(this.#text).toString();
    throw httpError({ status, url: this.#url.href, header, text }, subject);
  }
}

/** The next call asks the source itself again; unless it did already and knows better. */
function forget(source: RangeSource, url: URL): void {
  if (source.direct !== url.href) return;
  source.direct = null;
  source.etag = null;
}

/** What is wrong with the answer, in words; null when it is the range, or the whole file instead. */
function checkAnswer(source: RangeSource, range: Range, { status, header }: ResponseHead): string | null {
  const etag = header("etag");
  if (source.direct && source.etag && etag && etag !== source.etag)
    return `another file in the middle of this one (ETag ${source.etag}, then ${etag})`;
  const encoding = header("content-encoding");
  if (encoding && encoding !== "identity") return `a ${encoding} encoding that nobody asked for`;
  const length = header("content-length");
  const expected = status === 206 ? range.end - range.start : source.size;
  if (status === 206) {
    const found = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(header("content-range") ?? "");
    const fits = found && Number(found[1]) === range.start && Number(found[2]) === range.end - 1;
    if (!fits || (found[3] !== "*" && Number(found[3]) !== source.size))
      return `Content-Range ${header("content-range")} instead of bytes ${range.start}-${range.end - 1}/${source.size}`;
  }
  return length === null || Number(length) === expected ? null : `${length} bytes instead of ${expected}`;
}

/** The file came whole, and is another. */
export function digestMismatch(
  { name, digest, settings }: Pick<RangeSource, "name" | "settings"> & { digest: Digest },
  found: string,
): MusterError {
  return new MusterError(
    "DIGEST_MISMATCH",
    `${name} came with the wrong ${digest.algorithm} digest: expected ${digest.hex}, got ${found}. It was dropped.`,
    {
      hint: `A mirror or proxy serves a broken copy: try another ${settings?.endpoint ?? "HF_ENDPOINT"}, then run \`muster sync\` again.`,
    },
  );
}

export function invalid(source: RangeSource, what: string): MusterError {
  return new MusterError(
    "RESPONSE_INVALID",
    `${new URL(source.direct ?? source.url).host} answered for ${source.name} with ${what}.`,
    {
      hint: `It is tried again; if it stays so, a proxy or mirror in between is at fault: try another ${source.settings?.endpoint ?? "HF_ENDPOINT"}.`,
    },
  );
}
