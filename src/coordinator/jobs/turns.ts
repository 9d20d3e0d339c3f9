/** One thing at a time for each job, in the order in which they came: stores answer later, and in between much happens. */
export class Turns {
  readonly #last = new Map<string, Promise<void>>();

  take<T>(jobId: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(jobId) ?? Promise.resolve();
    const turn = before.then(work);
    const over = turn.then(nothing, nothing);
    this.#last.set(jobId, over);
    void over.then(() => {
      if (this.#last.get(jobId) === over) this.#last.delete(jobId);
    });
    return turn;
  }

  /** Settles once all turns are over. */
  async idle(): Promise<void> {
    while (this.#last.size > 0) await Promise.all(this.#last.values());
  }
}

function nothing(): void {}
