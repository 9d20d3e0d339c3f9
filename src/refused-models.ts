import type { MusterError } from "./errors.ts";
import { parseReference } from "./model-reference.ts";
import type { StatusBoard } from "./status.ts";

/** Refusals that are shown; older ones make room. */
const SHOWN = 64;

/** What was asked for and cannot be had: on the status board as failed, with the reason. */
export class RefusedModels {
  readonly #board: StatusBoard;
  readonly #ids: string[] = [];

  constructor(board: StatusBoard) {
    this.#board = board;
  }

  show(id: string, error: MusterError): void {
    const named = parseReference(id);
    const source = named && { source: named.source, location: named.location };
    // Both are told, so that whoever asked again sees that this is a new answer.
    this.#board.setModel(id, { ...source, required: false, state: "requested", rate: 0, error: null });
    this.#board.setModel(id, { state: "failed", error: error.toJSON() });
    this.forget(id);
    this.#ids.push(id);
    if (this.#ids.length > SHOWN) this.remove(this.#ids[0]!);
  }

  /** False where it is none of these. */
  remove(id: string): boolean {
    const isOne = this.forget(id);
    if (isOne) this.#board.removeModel(id);
    return isOne;
  }

  /** It is no refusal any more, whatever stands on the board. */
  forget(id: string): boolean {
    const position = this.#ids.indexOf(id);
    if (position >= 0) this.#ids.splice(position, 1);
    return position >= 0;
  }
}
