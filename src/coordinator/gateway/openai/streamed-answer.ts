import { jobError } from "../../../job.ts";

/**
 * What of an answer the client has. An attempt that takes the place of a lost one begins its text anew: as long as it
 * says the same, only what is new is passed on; where it says something else the stream cannot go on. Whatever pieces
 * did not come are taken from the whole answer at the end.
 */
export interface StreamedAnswer {
  /** What to send of a piece; null for nothing. Throws where the client has another answer already. */
  take(attempt: number, delta: unknown): object | null;
  /** What to send of the whole answer: all that the client does not have. */
  rest(output: unknown): object[];
}

interface Choice {
  index: number;
  delta?: Record<string, unknown>;
  text?: string;
  message?: Record<string, unknown>;
  finish_reason?: string | null;
}
interface Whole {
  model?: string;
  choices?: Choice[];
}
interface Piece {
  /** A field of the message, or `tool.INDEX.FIELD`. */
  path: string;
  text: string;
}
interface ToolCall {
  index?: number;
  id?: string;
  type?: string;
  function?: { name?: string; arguments?: string };
}

/** Chats and completions. `head`: the fields that each chunk begins with. */
export class StreamedText implements StreamedAnswer {
  readonly #head: { object: string } & Record<string, unknown>;
  /** By choice and path. */
  readonly #sent = new Map<string, string>();
  readonly #finished = new Set<number>();
  /** How far the current attempt has come, by choice and path. */
  #places = new Map<string, number>();
  #attempt = 0;
  /** Something of an earlier attempt was sent. */
  #repeats = false;

  constructor(head: { object: string } & Record<string, unknown>) {
    this.#head = head;
  }

  take(attempt: number, delta: unknown): object | null {
    if (attempt !== this.#attempt) {
      this.#repeats = this.#sent.size > 0;
      this.#places = new Map();
      this.#attempt = attempt;
    }
    const chunk = delta as Whole;
    const choices = (chunk.choices ?? []).map((choice) =>
      this.#advance(choice, piecesOf(choice.delta ?? { ...choice })),
    );
    if (!this.#repeats) return { ...chunk, ...this.#head };
    const news = choices.filter((choice) => choice !== null);
    return news.length > 0 ? { ...this.#head, model: chunk.model, choices: news } : null;
  }

  rest(output: unknown): object[] {
    this.#places = new Map();
    const { model, choices = [] } = output as Whole;
    const news = choices.map((choice) => this.#advance(choice, piecesOf(choice.message ?? { ...choice })));
    return news.filter((choice) => choice !== null).map((choice) => ({ ...this.#head, model, choices: [choice] }));
  }

  /** Takes note of what the choice says; gives what of it is new. */
  #advance({ index = 0, finish_reason = null }: Choice, pieces: Piece[]): object | null {
    const news = pieces.flatMap(({ path, text }) => {
      const added = this.#add(`${index} ${path}`, text);
      return added === "" ? [] : [{ path, text: added }];
    });
    const ends = finish_reason !== null && !this.#finished.has(index);
    if (ends) this.#finished.add(index);
    if (news.length === 0 && !ends) return null;
    return { index, ...deltaOf(news, this.#head.object), finish_reason: ends ? finish_reason : null };
  }

  #add(place: string, text: string): string {
    const known = this.#sent.get(place) ?? "";
    const at = this.#places.get(place) ?? 0;
    this.#places.set(place, at + text.length);
    // Each run makes up its own; the client keeps the first, also where that is none.
    if (place.endsWith(".id") && (known || this.#sent.has(place.replace(/id$/, "name")))) return "";
    const again = known.slice(at, at + text.length);
    if (!text.startsWith(again)) throw otherAnswer();
    const added = text.slice(again.length);
    this.#sent.set(place, known + added);
    return added;
  }
}

/** Pages of an ocr job: each is whole. */
export class StreamedPages implements StreamedAnswer {
  readonly #sent = new Set<unknown>();

  take(_attempt: number, delta: unknown): object | null {
    const { page } = delta as { page: unknown };
    if (this.#sent.has(page)) return null;
    this.#sent.add(page);
    return { object: "ocr.page", ...(delta as object) };
  }

  rest(output: unknown): object[] {
    const { pages = [] } = output as { pages?: unknown[] };
    return pages.flatMap((page) => this.take(0, page) ?? []);
  }
}

function piecesOf({ tool_calls, ...fields }: Record<string, unknown>): Piece[] {
  const texts = Object.entries(fields).flatMap(([path, text]) =>
    typeof text === "string" && path !== "role" && path !== "finish_reason" ? [{ path, text }] : [],
  );
  const calls = Array.isArray(tool_calls) ? (tool_calls as ToolCall[]) : [];
  return [
    ...texts,
    ...calls.flatMap(({ index, id, function: called }, position) => {
      const parts = { id, name: called?.name, arguments: called?.arguments };
      return Object.entries(parts).flatMap(([field, text]) =>
        text ? [{ path: `tool.${index ?? position}.${field}`, text }] : [],
      );
    }),
  ];
}

function deltaOf(pieces: Piece[], object: string): object {
  const fields: Record<string, unknown> = {};
  const calls = new Map<string, ToolCall & { index: number }>();
  for (const { path, text } of pieces) {
    const [, index, field] = /^tool\.(\d+)\.(.+)$/.exec(path) ?? [];
    if (index === undefined || field === undefined) fields[path] = text;
    else {
      const call = calls.get(index) ?? { index: Number(index) };
      if (field === "id") Object.assign(call, { id: text, type: "function" });
      else call.function = { ...call.function, [field]: text };
      calls.set(index, call);
    }
  }
  if (object === "text_completion") return { text: "", ...fields };
  return { delta: { ...fields, ...(calls.size > 0 ? { tool_calls: [...calls.values()] } : {}) } };
}

function otherAnswer() {
  return jobError(
    "LEASE_LOST",
    "The worker was lost in the middle of the answer, and the next one gives another answer.",
    "Send the request again.",
  );
}
