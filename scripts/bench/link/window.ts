/**
 * The sender's side of one TCP connection, as far as speed goes: slow start from ten segments, doubled each round trip
 * up to the window's limit; after the first loss additive increase, and half at each round trip that loses something.
 * Its mean under a loss rate p is the known one, MSS / RTT * 1.22 / sqrt(p) (Mathis and others, 1997).
 */

/** Payload of a segment on an Ethernet, with timestamps. */
export const SEGMENT = 1448;
const INITIAL = 10 * SEGMENT;
/** What Linux lets a receiver's window grow to, unless told otherwise (tcp_rmem). */
export const LARGEST = 6 << 20;

export class CongestionWindow {
  readonly #loss: number;
  readonly #random: () => number;
  #bytes = INITIAL;
  #slowStart = true;

  constructor(loss: number, random: () => number) {
    this.#loss = loss;
    this.#random = random;
  }

  /** May be sent in one round trip. */
  get bytes(): number {
    return this.#bytes;
  }

  /** After each round trip. A window that the sender did not fill does not grow. */
  endRound(sent: number): void {
    const kept = (1 - this.#loss) ** Math.ceil(sent / SEGMENT);
    if (this.#loss > 0 && this.#random() > kept) {
      this.#bytes = Math.max(2 * SEGMENT, this.#bytes / 2);
      this.#slowStart = false;
    } else if (sent >= this.#bytes * 0.9) {
      this.#bytes = Math.min(LARGEST, this.#slowStart ? this.#bytes * 2 : this.#bytes + SEGMENT);
    }
  }

  /** After a pause, as Linux does it (tcp_slow_start_after_idle). */
  restart(): void {
    this.#bytes = Math.min(this.#bytes, INITIAL);
    this.#slowStart = true;
  }
}
