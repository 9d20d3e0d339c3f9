import type { StoredModel, Variant } from "../model.ts";
import type { ModelProgress } from "./model-progress.ts";
import type { ModelDescription } from "./origin.ts";

/** An engine that fetches models by itself, into a store that is not on this volume. It alone says what is there. */
export interface ModelServer {
  /** Where it is, for logs and errors. */
  name: string;
  /** All it has. Throws ENGINE_DOWN. */
  list(signal?: AbortSignal): Promise<StoredModel[]>;
  /** Null for what it has not. Throws ENGINE_DOWN. */
  find(variant: Variant, signal?: AbortSignal): Promise<StoredModel | null>;
  /** What it says of a model that it has. */
  describe(variant: Variant, signal?: AbortSignal): Promise<ModelDescription | null>;
  /** Fetches it; throws MusterError. What had come before a failure is kept by the server. */
  pull(variant: Variant, progress: ModelProgress, signal?: AbortSignal): Promise<void>;
}
