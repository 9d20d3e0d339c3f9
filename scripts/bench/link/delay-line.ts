import type { Socket } from "node:net";
import { BufferPool } from "./buffer-pool.ts";
import type { CongestionWindow } from "./window.ts";

interface Piece {
  buffer: Buffer;
  start: number;
  end: number;
  /** When it has travelled the way. */
  dueAt: number;
}

/** A round trip under way: when its next slot is due, how many are left, and what each may send. */
interface Round {
  nextAt: number;
  left: number;
  slotMs: number;
  slotBytes: number;
  sent: number;
}

/** Bytes at a client that does not take them: the receiver's window is full. */
const CLIENT_LIMIT = 4 << 20;
/** What a window is cut into, so that it does not arrive in one burst. */
const SLOT_BYTES = 128 << 10;

/** One direction of a connection, from server to client: each byte is late by the way, and a window bounds the rate. */
export class DelayLine {
  readonly #client: Socket;
  readonly #window: CongestionWindow;
  readonly #oneWayMs: number;
  readonly #queue: Piece[] = [];
  #queued = 0;
  #ended = false;
  #round: Round | null = null;
  #idleSince = 0;

  constructor(client: Socket, window: CongestionWindow, oneWayMs: number) {
    this.#client = client;
    this.#window = window;
    this.#oneWayMs = oneWayMs;
  }

  /** Whether the server may send more: enough is under way to fill the window for the length of the way. */
  get wantsMore(): boolean {
    return this.#queued < this.#window.bytes * 0.75 + (256 << 10);
  }

  /** The buffer is this one's from now on. */
  push(buffer: Buffer, length: number): void {
    this.#queue.push({ buffer, start: 0, end: length, dueAt: performance.now() + this.#oneWayMs });
    this.#queued += length;
  }

  /** The server has closed its side: the client's is closed when everything has arrived. */
  end(): void {
    this.#ended = true;
  }

  /** Hands on what is due. To be called every few milliseconds. */
  tick(now: number): void {
    if (!this.#round && this.#isDue(now)) {
      if (now - this.#idleSince > 6 * this.#oneWayMs) this.#window.restart();
      this.#startRound(now);
    }
    // Late by more than a round trip: this process had no CPU, and nobody gets that time back in one burst.
    if (this.#round && now - this.#round.nextAt > 2 * this.#oneWayMs) this.#round.nextAt = now;
    while (this.#round && this.#round.nextAt <= now) this.#slot(this.#round, now);
    if (this.#ended && this.#queued === 0) {
      this.#ended = false;
      this.#client.end();
    }
  }

  #slot(round: Round, now: number): void {
    if (round.left === 0) {
      this.#window.endRound(round.sent);
      this.#round = null;
      this.#idleSince = round.nextAt;
      if (this.#isDue(now)) this.#startRound(round.nextAt);
      return;
    }
    round.sent += this.#send(round.slotBytes, now);
    round.left -= 1;
    round.nextAt += round.slotMs;
  }

  #startRound(at: number): void {
    const slots = Math.min(25, Math.max(1, Math.round(this.#window.bytes / SLOT_BYTES)));
    const slotMs = (2 * this.#oneWayMs) / slots;
    this.#round = { nextAt: at, left: slots, slotMs, slotBytes: this.#window.bytes / slots, sent: 0 };
  }

  #isDue(now: number): boolean {
    const first = this.#queue[0];
    return first !== undefined && first.dueAt <= now;
  }

  #send(allowance: number, now: number): number {
    let rest = Math.floor(allowance);
    while (rest > 0 && this.#isDue(now) && this.#client.writableLength < CLIENT_LIMIT) {
      const piece = this.#queue[0]!;
      const { buffer, start } = piece;
      const count = Math.min(rest, piece.end - start);
      piece.start += count;
      rest -= count;
      const isLast = piece.start === piece.end;
      if (isLast) this.#queue.shift();
      this.#client.write(buffer.subarray(start, start + count), isLast ? () => BufferPool.give(buffer) : undefined);
    }
    const sent = Math.floor(allowance) - rest;
    this.#queued -= sent;
    return sent;
  }
}
