import { jobError } from "../../job.ts";

/**
 * The lines of a UTF-8 text that arrives in any pieces, without their ends (LF, CRLF or CR). A last line that has no end
 * is a line. Reads no further than it is asked to; a line of more than `maxLength` characters is PAYLOAD_TOO_LARGE.
 */
export async function* lines(source: AsyncIterable<Uint8Array>, maxLength: number): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  let afterCr = false;
  for await (const bytes of source) {
    let text = decoder.decode(bytes, { stream: true });
    if (text === "") continue;
    // CRLF, cut in two.
    if (afterCr && text.startsWith("\n")) text = text.slice(1);
    afterCr = text.endsWith("\r");
    const pieces = text.split(/\r\n|\n|\r/);
    pieces[0] = rest + pieces[0];
    rest = pieces.pop() ?? "";
    yield* pieces;
    if (rest.length > maxLength) throw pieceTooLong(maxLength);
  }
  rest += decoder.decode();
  if (rest !== "") yield rest;
}

const JSON_AROUND = 1024 * 1024;

/** Characters that one piece of a streamed answer may have: all of the answer, escaped as JSON, and what is around it. */
export function pieceLimit({ maxOutputBytes }: { maxOutputBytes: number }): number {
  return 2 * maxOutputBytes + JSON_AROUND;
}

/** The whole of a text; PAYLOAD_TOO_LARGE beyond that many bytes. */
export async function wholeText(source: AsyncIterable<Uint8Array>, maxBytes: number): Promise<string> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const bytes of source) {
    length += bytes.byteLength;
    if (length > maxBytes) throw answerTooLarge();
    pieces.push(bytes);
  }
  return Buffer.concat(pieces).toString("utf8");
}

export function answerTooLarge() {
  return jobError("PAYLOAD_TOO_LARGE", "The answer is larger than this worker may send.", LESS);
}

export function pieceTooLong(maxLength: number) {
  return jobError("PAYLOAD_TOO_LARGE", `A piece of the answer is larger than ${maxLength} characters.`, LESS);
}

const LESS = "Ask for less: a lower `max_tokens`, fewer texts or pages at once.";
