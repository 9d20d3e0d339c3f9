import type { MessagePort } from "node:worker_threads";
import type { ErrorCode, ErrorData } from "../../errors.ts";
import type { Digest } from "../../model.ts";
import type { SharedLimits } from "./limits.ts";

/** What the main thread and a transfer lane say to each other. */

/** One file to fetch, or to copy from a disk, into a partial; or a file on disk to digest. */
export type TransferJob =
  | {
      kind: "fetch";
      url: string;
      /** Value of the Authorization header; sent to the origin of `url` only. */
      authorization: string | null;
      /** For error texts: what is fetched, and the page where access is asked for. */
      name: string;
      page: string;
      settings?: { endpoint: string; token: string | null };
      /** The URL itself grants access: a refusal means that it has expired. */
      signed: boolean;
      /** There is no other place to turn to: worth many attempts. */
      patient: boolean;
      /** Folder of the partial. */
      folder: string;
      size: number;
      digest: Digest;
    }
  | { kind: "copy"; path: string; name: string; folder: string; size: number; digest: Digest }
  /** `paced`: it keeps to the bandwidth, and tells of the bytes it has read. */
  | { kind: "digest"; path: string; size: number; algorithm: Digest["algorithm"]; paced?: boolean };

/** Smaller files come in one go: they have no journal, and are not synced one by one. */
export function isJournaled({ size }: { size: number }): boolean {
  return size > SMALL_BYTES;
}
const SMALL_BYTES = 256 << 10;

/** Trouble that is dealt with is a warning; the rest is good to know. */
export type NoteLevel = "info" | "warn";

export interface LaneOptions {
  /** At once, of all threads together. */
  connections: number;
  stallTimeoutMs: number;
  userAgent: string;
  /** False only in benchmarks, to tell what the digest costs. */
  verify: boolean;
}

/** What a thread is started with. `peers` holds its ends of the channels to the other lanes, by their numbers. */
export interface LaneData {
  options: LaneOptions;
  limits: SharedLimits;
  peers: ({ incoming: MessagePort; outgoing: MessagePort } | null)[];
}

export type ToLane =
  /** `digestLane` is the number of the lane that digests the file. */
  { type: "start"; id: number; job: TransferJob; digestLane: number } | { type: "cancel"; id: number };

export type FromLane =
  /** `bytes` came in since the last message that told of any (negative when a file had to start over). */
  | { type: "progress"; id: number; bytes: number }
  | { type: "note"; id: number; message: string; level: NoteLevel }
  /** An attempt failed so, and is followed by another. */
  | { type: "retry"; id: number; code: ErrorCode }
  /** `digest` is in hex, and null where a file to digest cannot be read. */
  | { type: "done"; id: number; digest: string | null; bytes: number }
  | { type: "failed"; id: number; error: ErrorData; bytes: number };
