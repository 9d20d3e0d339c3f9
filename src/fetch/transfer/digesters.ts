import type { MessagePort } from "node:worker_threads";
import type { Digest } from "../../model.ts";
import { FileDigest } from "./digest.ts";
import type { Digester } from "./digest-feed.ts";
import type { Slot } from "./slots.ts";

/** What a file's digest is begun with. */
export interface DigestStart {
  /** Descriptors are the process's: another thread can read by it. */
  fd: number;
  algorithm: Digest["algorithm"];
  size: number;
}

/** Digests on this thread: bytes at once, reading in bites between which sockets have their turn. */
export function localDigester({ fd, algorithm, size }: DigestStart): Digester {
  const digest = new FileDigest(fd, algorithm, size);
  let failure: unknown = null;
  return {
    capacity: 1 << 20,
    // Read at once.
    readAhead: 1 << 20,
    takes: () => true,
    update(slot, from, length, done) {
      digest.update(slot.bytes.subarray(from, from + length));
      done();
    },
    read(end, done) {
      try {
        digest.read(end);
      } catch (error) {
        failure ??= error;
      }
      setImmediate(done);
    },
    async finish() {
      if (failure !== null) throw failure;
      return digest.finish();
    },
    close: () => undefined,
  };
}

type ToDigester =
  | ({ type: "open"; id: number } & DigestStart)
  | { type: "memory"; memory: SharedArrayBuffer }
  | { type: "update"; id: number; offset: number; length: number }
  | { type: "read"; id: number; end: number }
  | { type: "finish"; id: number }
  | { type: "close"; id: number };
type FromDigester =
  | { type: "done"; id: number }
  | { type: "digest"; id: number; hex: string }
  /** The file cannot be read. */
  | { type: "failed"; id: number; error: unknown };

/** Bytes on their way to another thread: enough to keep it busy, little enough to stay in the cache. */
const CAPACITY = 4 << 20;
/**
 * A thread with many connections, or with a disk that makes it wait, is long in telling of more; files that are digested
 * after these bytes wait for them.
 */
const READ_AHEAD = 64 << 20;

/** Digests for another thread that shares its memory. */
export function serveDigests(port: MessagePort): void {
  const digests = new Map<number, FileDigest>();
  let memory: Buffer | null = null;
  port.on("message", (message: ToDigester) => {
    if (message.type === "memory") {
      memory = Buffer.from(message.memory);
      return;
    }
    const { id } = message;
    if (message.type === "open") digests.set(id, new FileDigest(message.fd, message.algorithm, message.size));
    const digest = digests.get(id);
    if (message.type === "close") digests.delete(id);
    if (!digest || message.type === "open" || message.type === "close") return;
    if (message.type === "finish") {
      port.postMessage({ type: "digest", id, hex: digest.finish() } satisfies FromDigester);
      digests.delete(id);
      return;
    }
    try {
      if (message.type === "update") digest.update(memory!.subarray(message.offset, message.offset + message.length));
      else digest.read(message.end);
    } catch (error) {
      port.postMessage({ type: "failed", id, error } satisfies FromDigester);
    }
    port.postMessage({ type: "done", id } satisfies FromDigester);
  });
}

/** Has files digested by the thread at the other end of the port. */
export class RemoteDigests {
  readonly #port: MessagePort;
  readonly #files = new Map<number, { steps: (() => void)[]; finished: PromiseWithResolvers<string> }>();
  #nextId = 1;

  constructor(port: MessagePort, memory: SharedArrayBuffer) {
    this.#port = port;
    this.#send({ type: "memory", memory });
    port.on("message", (message: FromDigester) => {
      const file = this.#files.get(message.id);
      if (message.type === "digest") file?.finished.resolve(message.hex);
      else if (message.type === "failed") file?.finished.reject(message.error);
      else file?.steps.shift()?.();
    });
  }

  open(start: DigestStart): Digester {
    const id = this.#nextId++;
    const file = { steps: [] as (() => void)[], finished: Promise.withResolvers<string>() };
    this.#files.set(id, file);
    // Met where the digest is awaited.
    file.finished.promise.catch(() => undefined);
    this.#send({ type: "open", id, ...start });
    return {
      capacity: CAPACITY,
      readAhead: READ_AHEAD,
      takes: (slot: Slot) => slot.offset !== null,
      update: (slot, from, length, done) => {
        file.steps.push(done);
        this.#send({ type: "update", id, offset: (slot.offset ?? 0) + from, length });
      },
      read: (end, done) => {
        file.steps.push(done);
        this.#send({ type: "read", id, end });
      },
      finish: () => {
        this.#send({ type: "finish", id });
        return file.finished.promise;
      },
      close: () => {
        this.#send({ type: "close", id });
        this.#files.delete(id);
        file.finished.reject(new Error("the digest was given up"));
        // Slots on their way come back, whatever became of the file; late bytes in them are digested for nobody.
        for (const done of file.steps.splice(0)) done();
      },
    };
  }

  #send(message: ToDigester): void {
    this.#port.postMessage(message);
  }
}
