import type { ChunkSink } from "../../job.ts";
import type { Engine as EngineKind, FileSpec, JobKind, OcrPrompts, Task } from "../../model.ts";

/** A model as an engine is asked for it. */
export interface EngineModel {
  /** Id in the catalog. */
  id: string;
  task: Task;
  /** What the engine calls it: an Ollama name, vLLM's served model name or path. */
  name: string;
  /** Tokens per sequence that the plan reckons with; null: the engine's own. */
  context: number | null;
  /** Its own words for reading a page. */
  prompts?: OcrPrompts;
  /** Where it is a LoRA adapter that the engine does not know of by itself. */
  adapter?: EngineAdapter;
}

/** A LoRA adapter on the volume, to be made a model of the engine's. */
export interface EngineAdapter {
  /** What the engine calls the model that it goes on. */
  base: string;
  folder: string;
  files: FileSpec[];
}

/** The bodies of the OpenAI API, checked for what every engine relies on; other fields go through as they are. */
export interface ChatBody {
  messages: ChatMessage[];
  [field: string]: unknown;
}
export interface ChatMessage {
  role: string;
  content?: string | ContentPart[] | null;
  [field: string]: unknown;
}
/** Images are data: URIs here, made of bytes that were looked at; nothing else is ever let in. */
export type ContentPart =
  | { type: "text"; text: string }
  | { type: "image_url"; image_url: { url: string } }
  | { type: string; [field: string]: unknown };
export interface CompletionBody {
  prompt: string | string[] | number[] | number[][];
  [field: string]: unknown;
}
export interface EmbeddingBody {
  input: string | string[] | number[] | number[][];
  [field: string]: unknown;
}
export interface EngineBodies {
  chat: ChatBody;
  completion: CompletionBody;
  embedding: EmbeddingBody;
}

/** Kinds that engines know; `ocr` is made of chats. */
export type EngineKindOfJob = Exclude<JobKind, "ocr">;

export interface EngineCall {
  signal: AbortSignal;
  /** Takes the pieces, in the OpenAI form of chunks; null where the answer is wanted whole only. */
  onChunk: ChunkSink | null;
  /** Bytes of text that the answer may have; beyond it PAYLOAD_TOO_LARGE. */
  maxOutputBytes: number;
}

export interface EngineAnswer {
  /** The whole answer in the OpenAI form, of a streamed call as well; `model` is the catalog's id. */
  output: Record<string, unknown>;
  usage: Record<string, number>;
}

/** How an engine does each kind of job. */
export type EngineRuns = {
  [K in EngineKindOfJob]: (model: EngineModel, body: EngineBodies[K], call: EngineCall) => Promise<EngineAnswer>;
};

export interface EngineHealth {
  reachable: boolean;
  version: string | null;
  /** What it says it serves; null where it does not say. */
  models: string[] | null;
}

/**
 * One engine behind one URL. Errors are MusterErrors with codes of jobs: ENGINE_DOWN, INVALID_INPUT, MODEL_NOT_READY,
 * BUSY, OUT_OF_MEMORY, TIMEOUT, PAYLOAD_TOO_LARGE, UNSUPPORTED, INTERNAL; an abort rejects with the signal's reason, and
 * the engine's work is ended by then.
 */
export interface Engine {
  readonly kind: EngineKind;
  readonly url: string;
  run<K extends EngineKindOfJob>(
    kind: K,
    model: EngineModel,
    body: EngineBodies[K],
    call: EngineCall,
  ): Promise<EngineAnswer>;
  /** Loads the model by the smallest call of its task. Loading may take minutes: only the signal ends it. */
  warmUp(model: EngineModel, signal: AbortSignal): Promise<void>;
  /** Takes the model out of memory; left out by engines that cannot. */
  unload?(model: EngineModel, signal: AbortSignal): Promise<void>;
  /** Short; never throws. */
  probe(signal: AbortSignal): Promise<EngineHealth>;
}
