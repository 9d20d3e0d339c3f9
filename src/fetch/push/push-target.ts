import type { PublishedFile } from "../published-model.ts";
import type { CheckedFile } from "./checked-file.ts";

export interface PutOptions {
  signal: AbortSignal;
  /** Bytes that have arrived. */
  onBytes: (count: number) => void;
}

/** The folder of one model, in a bucket or on a disk, as it is filled. All throw MusterError. */
export interface PushTarget {
  /** For people: where the model will be. */
  name: string;
  /** The text of the manifest there, or null. */
  readManifest(signal: AbortSignal): Promise<string | null>;
  /** Whether that very content is there. */
  has(file: PublishedFile, signal: AbortSignal): Promise<boolean>;
  /** Before the first byte: whether there is room for so many. */
  prepare(bytes: number): Promise<void>;
  /** Shows the file there once all of it has arrived and is right; nothing of it otherwise. */
  put(file: PublishedFile, content: CheckedFile, options: PutOptions): Promise<void>;
  remove(path: string, signal: AbortSignal): Promise<void>;
  writeManifest(text: string, signal: AbortSignal): Promise<void>;
}
