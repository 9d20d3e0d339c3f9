import { request } from "undici";
import type { Config } from "../config.ts";
import { type ErrorData, MusterError, toMusterError } from "../errors.ts";
import { networkError } from "../fetch/http-errors.ts";
import type { StoredModel } from "../model.ts";
import { withoutCredentials } from "../url-credentials.ts";
import { askSocket } from "./agent-socket.ts";

/** Where the model is loaded now; or why nobody was asked to. */
export interface Loaded {
  engine: string | null;
  why: string | null;
}

/**
 * Has the running agent load the model in its engine; where none runs, Ollama is asked itself (other engines load what they
 * were started with). Throws MusterError where it was tried in vain.
 */
export async function loadInEngine(model: StoredModel, config: Config, signal: AbortSignal): Promise<Loaded> {
  try {
    const path = `/warm?model=${encodeURIComponent(model.location)}`;
    const answer = await askSocket<{ engine: string } | { error: ErrorData }>(config, "POST", path);
    if ("error" in answer) throw MusterError.fromJSON(answer.error);
    return { engine: answer.engine, why: null };
  } catch (error) {
    if (toMusterError(error).code !== "AGENT_NOT_RUNNING") throw error;
  }
  const { ollama } = config.engineUrls;
  if (model.source !== "ollama" || !ollama) return { engine: null, why: "no agent runs here that could load it" };
  return { engine: await loadAtOllama(ollama, model.location, signal), why: null };
}

/** An empty prompt loads a model; one for embeddings takes none, and wants a text. */
async function loadAtOllama(url: string, model: string, signal: AbortSignal): Promise<string> {
  const { href, headers } = withoutCredentials(url);
  const ask = async (path: string, body: object) => {
    const answer = await request(`${href}${path}`, {
      ...{ method: "POST", headers: { ...headers, "content-type": "application/json" }, signal },
      ...{ body: JSON.stringify(body), headersTimeout: 0, bodyTimeout: 0 },
    }).catch((error: unknown) => {
      signal.throwIfAborted();
      throw networkError(error, href);
    });
    return { status: answer.statusCode, text: (await answer.body.text()).slice(0, 300) };
  };
  let answer = await ask("/api/generate", { model, prompt: "", stream: false });
  if (answer.status === 400) answer = await ask("/api/embed", { model, input: "Hi" });
  if (answer.status === 200) return href;
  throw new MusterError("ENGINE_FAILED", `Ollama at ${href} does not load ${model}: ${answer.text}`, {
    hint: "See its log; `muster doctor` tries it.",
  });
}
