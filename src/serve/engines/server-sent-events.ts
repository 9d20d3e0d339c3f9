import { lines, pieceTooLong } from "./lines.ts";

export interface ServerSentEvent {
  /** `message` where the server names none. */
  event: string;
  data: string;
}

/**
 * The events of a text/event-stream, as the WHATWG defines it: comments, ids and unknown fields are passed over, and an
 * event without its closing empty line is none. `maxLength` bounds an event, in characters; beyond it PAYLOAD_TOO_LARGE.
 */
export async function* serverSentEvents(
  source: AsyncIterable<Uint8Array>,
  maxLength: number,
): AsyncGenerator<ServerSentEvent> {
  let event = "";
  let data: string[] = [];
  let length = 0;
  for await (const line of lines(source, maxLength)) {
    if (line === "") {
      if (data.length > 0) yield { event: event || "message", data: data.join("\n") };
      event = "";
      data = [];
      length = 0;
      continue;
    }
    length += line.length;
    if (length > maxLength) throw pieceTooLong(maxLength);
    const { field, value } = parseField(line);
    if (field === "data") data.push(value);
    else if (field === "event") event = value;
    else if (field === "error") {
      // Older llama.cpp servers send their errors so.
      event = "error";
      data.push(value);
    }
  }
}

function parseField(line: string): { field: string; value: string } {
  const colon = line.indexOf(":");
  if (colon === -1) return { field: line, value: "" };
  const value = line.slice(colon + 1);
  return { field: line.slice(0, colon), value: value.startsWith(" ") ? value.slice(1) : value };
}
