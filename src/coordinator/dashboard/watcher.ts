import type { LostWorker } from "./fleet-events.ts";

/** Where a stream of events goes. */
export interface Sink {
  write(text: string): void;
  /** More would only pile up. */
  isFull(): boolean;
  /** There is room again. */
  onRoom(then: () => void): void;
  onEnd(then: () => void): void;
}

/** Workers in one event, so that neither end is busy for long with one. */
const BATCH = 500;

interface Texts {
  /** Undefined where it is gone. */
  worker(id: string): string | undefined;
  job(id: string): string | undefined;
}

/**
 * One who watches the fleet. What is to be told is kept as ids, and put into words as it is sent: who reads slowly gets the
 * newest state of what changed, however often it did.
 */
export class Watcher {
  readonly workers = new Set<string>();
  readonly jobs = new Set<string>();
  lost: LostWorker[] = [];
  readonly #sink: Sink;
  readonly #texts: Texts;
  #numbers = "";
  #state: "coming" | "filling" | "complete" = "coming";

  constructor(sink: Sink, texts: Texts) {
    this.#sink = sink;
    this.#texts = texts;
    sink.onRoom(() => this.send(""));
  }

  begin(hello: string, all: { workers: Iterable<string>; jobs: Iterable<string> }): void {
    for (const id of all.workers) this.workers.add(id);
    for (const id of all.jobs) this.jobs.add(id);
    this.lost = [];
    this.#event("hello", hello);
    this.#state = "filling";
  }

  /** `numbers`: parts of a JSON object; those that were not sent yet are replaced by it. False where there was nothing to say. */
  send(numbers: string): boolean {
    if (numbers) this.#numbers = numbers;
    if (this.#state === "coming") return false;
    let sent = false;
    while (this.#hasNews() && !this.#sink.isFull()) {
      this.#event("change", this.#change());
      sent = true;
    }
    if (this.#state === "filling" && !this.#hasNews()) {
      this.#state = "complete";
      this.#event("complete", "{}");
    }
    return sent;
  }

  heartbeat(): void {
    if (!this.#sink.isFull()) this.#sink.write(":\n\n");
  }

  #hasNews(): boolean {
    return this.workers.size > 0 || this.jobs.size > 0 || this.lost.length > 0 || this.#numbers !== "";
  }

  #change(): string {
    const ids = [...this.workers.values().take(BATCH)];
    for (const id of ids) this.workers.delete(id);
    const here = ids.flatMap((id) => this.#texts.worker(id) ?? []);
    const gone = ids.filter((id) => this.#texts.worker(id) === undefined);
    const jobs = [...this.jobs].flatMap((id) => this.#texts.job(id) ?? []);
    const parts = [
      here.length > 0 ? `"workers":[${here.join(",")}]` : "",
      gone.length > 0 ? `"gone":${JSON.stringify(gone)}` : "",
      jobs.length > 0 ? `"jobs":[${jobs.join(",")}]` : "",
      this.lost.length > 0 ? `"lost":${JSON.stringify(this.lost)}` : "",
      this.#numbers,
    ];
    this.jobs.clear();
    this.lost = [];
    this.#numbers = "";
    return `{${parts.filter(Boolean).join(",")}}`;
  }

  #event(name: string, json: string): void {
    this.#sink.write(`event: ${name}\ndata: ${json}\n\n`);
  }
}
