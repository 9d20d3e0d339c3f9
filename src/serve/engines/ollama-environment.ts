import type { ModelSpec } from "../../model.ts";
import { type EnginePlan, listenAddress } from "./engine-plan.ts";

/** For ever: which models are loaded is the plan's affair, and a job must not change it. */
export const KEEP_ALIVE = -1;

/** How Ollama is started for a plan: it is told everything by its environment. Pure. */
export function ollamaVariables({ models, engineUrls }: EnginePlan): {
  serves: ModelSpec[];
  variables: Record<string, string>;
} {
  const serves = models.filter(({ variant }) => variant.engine === "ollama");
  const address = listenAddress(engineUrls.ollama);
  const sequences = serves.flatMap(({ task, share }) => (task === "embedding" ? [] : (share.sequences ?? [])));
  const contexts = serves.flatMap(({ context }) => context ?? []);
  const variables = {
    ...(address ? { OLLAMA_HOST: hostOf(address) } : {}),
    ...(sequences.length > 0 ? { OLLAMA_NUM_PARALLEL: String(Math.max(...sequences)) } : {}),
    ...(serves.length > 0 ? { OLLAMA_MAX_LOADED_MODELS: String(serves.length) } : {}),
    // Jobs ask for each model's own; whoever asks for none must not load more than any was planned with.
    ...(contexts.length > 0 ? { OLLAMA_CONTEXT_LENGTH: String(Math.min(...contexts)) } : {}),
    OLLAMA_KEEP_ALIVE: String(KEEP_ALIVE),
  };
  return { serves, variables };
}

function hostOf({ host, port }: { host: string | null; port: number }): string {
  return `${host === null ? "0.0.0.0" : host.includes(":") ? `[${host}]` : host}:${port}`;
}
