import { HTTPParser } from "http-parser-js";

/** More than any head, trailer, or line before a chunk has. */
const LONGEST_HEAD = 80 << 10;

/** What the library keeps to itself, and is steered by. */
interface Internals {
  state: string;
  line: string;
  offset: number;
  end: number;
  consumeLine(): string | undefined;
}

/** Within these a line belongs to those before it. */
const keepsOn = new Set(["HEADER", "BODY_CHUNKTRAILERS"]);

/** A server's own words, of headers as well, are bytes; only those of a redirect are ever read as more than ASCII. */
HTTPParser.encoding = "latin1";
/** The library counts the body that an answer ends with towards the next one's head: it is counted here. */
HTTPParser.maxHeaderSize = Number.POSITIVE_INFINITY;

/**
 * The library's parser of answers, held to what it takes on trust: the size of a chunk (a negative one would send it round
 * in circles), and that a head ends some day.
 */
export class ResponseParser extends HTTPParser {
  constructor() {
    super("RESPONSE");
    const parser = this as unknown as Internals;
    const consumeLine = parser.consumeLine;
    let headBytes = 0;
    parser.consumeLine = () => {
      const line = consumeLine.call(parser);
      if (line !== undefined) headBytes = keepsOn.has(parser.state) ? headBytes + line.length : 0;
      if (headBytes + parser.line.length > LONGEST_HEAD) throw new Error("a head without an end");
      if (line !== undefined && parser.state === "BODY_CHUNKHEAD" && !/^[\da-f]{1,12}[ \t]*(;|$)/i.test(line))
        throw new Error("a chunk without a size");
      return line;
    };
  }

  /** Bytes that it was given and has not used yet. */
  get unused(): number {
    const { offset, end } = this as unknown as Internals;
    return end - offset;
  }
}
