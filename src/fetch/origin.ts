import type { MusterError } from "../errors.ts";
import type { Architecture, FileSpec, Variant } from "../model.ts";
import type { Range } from "../store/ranges.ts";
import type { AskOptions } from "./ask.ts";
import type { ModelCard } from "./model-card.ts";

/** What can be said of a model at a glance, for a plan. */
export interface ModelSurvey {
  files: Pick<FileSpec, "path" | "size">[];
  /** Bytes of those that hold weights, where the source itself says what its files are for; then all of them are fetched. */
  weights?: { weightsBytes: number; projectorBytes: number };
  architecture: Architecture | null;
  /** Left out where nobody asked for it. */
  card?: ModelCard;
}

/** What a source says of a model, without its weights. */
export interface ModelDescription extends ModelSurvey {
  /** What the revision stood for: a commit, the digest of a manifest. */
  revision: string;
  /** All files that may be fetched. */
  files: FileSpec[];
  /** The source's own text that is stored with the model, where there is one. */
  manifest: string | null;
}

/** Where the bytes of one file are had. */
export type FileOrigin =
  | {
      kind: "http";
      url: string;
      /** Value of the Authorization header; sent to the origin of `url` only. */
      authorization: string | null;
      /** It holds for a time only: a refusal asks for a new one. */
      renewable?: boolean;
      /** Page where access is asked for. */
      page: string;
      /** The settings that say where it is asked for, for the words of errors; the hub's where they are left out. */
      settings?: { endpoint: string; token: string | null };
      /** The URL itself grants access, for a time: a refusal asks for a new one. */
      signed: boolean;
    }
  | { kind: "path"; path: string };

/** A protocol that a library speaks, as a way to the bytes of one file. */
export interface ByteStream {
  /** For logs and errors. */
  name: string;
  /** The bytes of the range, in order. Throws MusterError, or the reason of the signal. */
  read(range: Range, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

export interface DescribeOptions extends AskOptions {
  /** The text of a file that the volume has already, so that it need not be asked for. */
  readStored(file: FileSpec): Promise<string | null>;
  /**
   * Given by who wants to know whatever the source says, and can do without some of it: told of small files that the source
   * does not give to everybody. Without it that is thrown, and nothing is asked that only the card needs.
   */
  onClosed?: (error: MusterError) => void;
}

/** A place that models come from: a hub, a registry, a bucket, a folder. */
export interface Origin {
  /** For logs and errors. */
  name: string;
  /** Throws MusterError. */
  describe(variant: Variant, options: DescribeOptions): Promise<ModelDescription>;
  /** For sources that have to read the weights to describe them: what is known before. Throws MusterError. */
  survey?(variant: Variant, options: DescribeOptions): Promise<ModelSurvey>;
  /** Asked when the file is about to be fetched, and again when a signed URL is refused. */
  locate(variant: Variant, revision: string, file: FileSpec, options: AskOptions): Promise<FileOrigin>;
  /** Another way to the file, asked for when that one is broken; null where there is none. Throws MusterError. */
  fallback?(variant: Variant, revision: string, file: FileSpec, options: AskOptions): Promise<ByteStream | null>;
}
