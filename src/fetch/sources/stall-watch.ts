import { MusterError } from "../../errors.ts";

/** Ends what says nothing for too long, by a signal. */
export class StallWatch implements Disposable {
  readonly #aborter = new AbortController();
  readonly #what: string;
  #timer: NodeJS.Timeout | undefined;

  /** `what` has not happened, in the error's words. */
  constructor(what: string) {
    this.#what = what;
  }

  get signal(): AbortSignal {
    return this.#aborter.signal;
  }

  /** Something happened; the next thing has to within so many milliseconds. */
  expect(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#aborter.abort(
        new MusterError("STALLED", `${this.#what} for ${ms / 1000} s.`, {
          hint: "It is tried again; on a very slow link raise STALL_TIMEOUT.",
        }),
      );
    }, ms);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
