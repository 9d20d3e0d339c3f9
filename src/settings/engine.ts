import type * as z from "zod";
import { secret, secretFile } from "./files.ts";
import { setting } from "./setting.ts";
import { httpUrl, path, token } from "./values.ts";

/** The engines that run this worker's models, and the keys that they ask for. */

export const engineSettings = {
  OLLAMA_URL: setting("Engines", httpUrl, {
    description: "An Ollama server this worker runs its Ollama models on.",
    allowed: "an http(s) URL",
    otherwise: "none is used",
  }),
  VLLM_URL: setting("Engines", httpUrl, {
    description: "A vLLM server this worker runs its vLLM models on.",
    allowed: "an http(s) URL",
    otherwise: "none is used",
  }),
  VLLM_API_KEY: setting("Engines", token, {
    description: "The key that the vLLM server asks for; one that muster starts takes it from here, too.",
    allowed: "printable characters without spaces",
    otherwise: "none",
    secret: true,
  }),
  VLLM_API_KEY_FILE: setting("Engines", path, {
    description: "File that holds that key (a container secret).",
    allowed: "a readable file",
    otherwise: "none",
  }),
  OPENAI_URL: setting("Engines", httpUrl, {
    description: "Any other OpenAI-compatible server (llama.cpp, TEI, LocalAI).",
    allowed: "an http(s) URL",
    otherwise: "none is used",
  }),
  OPENAI_API_KEY: setting("Engines", token, {
    description: "The key that the server at OPENAI_URL asks for.",
    allowed: "printable characters without spaces",
    otherwise: "none",
    secret: true,
  }),
  OPENAI_API_KEY_FILE: setting("Engines", path, {
    description: "File that holds that key (a container secret).",
    allowed: "a readable file",
    otherwise: "none",
  }),
};

type Given = { [Name in keyof typeof engineSettings]?: z.output<(typeof engineSettings)[Name]> };

export interface EngineUrls {
  ollama: string | null;
  vllm: string | null;
  openai: string | null;
}

export function engineUrls({ OLLAMA_URL, VLLM_URL, OPENAI_URL }: Given): EngineUrls {
  return { ollama: OLLAMA_URL ?? null, vllm: VLLM_URL ?? null, openai: OPENAI_URL ?? null };
}

/** Ollama has none; a proxy's credentials before it stand in its URL. */
export type EngineKeys = Omit<EngineUrls, "ollama">;

export function engineKeys(given: Given, problems: string[]): EngineKeys {
  return {
    vllm: secret(given.VLLM_API_KEY) ?? secretFile("VLLM_API_KEY_FILE", given.VLLM_API_KEY_FILE, problems),
    openai: secret(given.OPENAI_API_KEY) ?? secretFile("OPENAI_API_KEY_FILE", given.OPENAI_API_KEY_FILE, problems),
  };
}
