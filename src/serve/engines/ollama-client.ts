import { Ollama } from "ollama";
import * as z from "zod";
import { brokenOff, engineRefusal, parseAnswer } from "./engine-error.ts";
import type { EngineHttp } from "./engine-http.ts";
import { lines, pieceLimit } from "./lines.ts";

export interface ClientOptions {
  /** Ends every request of the client: its own abort() ends only streams that have begun. */
  signal: AbortSignal;
  maxOutputBytes: number;
}

/** Stands for the engine, whose real address `http` has. */
const PLACEHOLDER = "http://ollama";

/**
 * A client for one job. What goes wrong is thrown, as an error of jobs, before the client sees it: it would print answers
 * that it cannot read, and has only texts for what an engine says in the middle of a stream.
 */
export function ollamaClient(http: EngineHttp, { signal, maxOutputBytes }: ClientOptions): Ollama {
  const send = async (url: string, { body, signal: own }: { body?: string; signal?: AbortSignal }) => {
    const answer = await http.send(new URL(url).pathname, {
      body,
      signal: own ? AbortSignal.any([own, signal]) : signal,
    });
    return new Response(ReadableStream.from(checkedLines(answer, http, pieceLimit({ maxOutputBytes }))));
  };
  return new Ollama({ host: PLACEHOLDER, fetch: send as unknown as typeof fetch });
}

const event = z.object({ error: z.string().optional(), done: z.boolean().optional() });

/** The lines of an answer, each of which is whole JSON and none of which is an error; a stream has its last one. */
async function* checkedLines(
  answer: AsyncIterable<Uint8Array>,
  engine: EngineHttp,
  maxLength: number,
): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  let isOpen = true;
  for await (const line of lines(answer, maxLength)) {
    if (line === "") continue;
    const { error, done } = event.catch({}).parse(parseAnswer(line, engine));
    if (error !== undefined) throw engineRefusal(engine, 500, error);
    isOpen = done === false;
    yield encoder.encode(`${line}\n`);
  }
  if (isOpen) throw brokenOff(engine);
}
