import { HTTPParser } from "http-parser-js";

/** More than any head, or the line before a chunk, has. */
const LONGEST_LINE = 64 << 10;

/** What the library keeps to itself, and is steered by. */
interface Internals {
  state: string;
  line: string;
  offset: number;
  end: number;
  consumeLine(): string | undefined;
}

/** A server's own words, of headers as well, are bytes; only those of a redirect are ever read as more than ASCII. */
HTTPParser.encoding = "latin1";

/**
 * The library's parser of answers, held to what it takes on trust: the size of a chunk (a negative one would send it round
 * in circles), and that a line ends some day.
 */
export class ResponseParser extends HTTPParser {
  constructor() {
    super("RESPONSE");
    const parser = this as unknown as Internals;
    const consumeLine = parser.consumeLine;
    parser.consumeLine = () => {
      const line = consumeLine.call(parser);
      if ((line ?? parser.line).length > LONGEST_LINE) throw new Error("a line without an end");
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
