import type { JobKind, ModelSpec, Task } from "../model.ts";

const KINDS: Record<Task, readonly JobKind[]> = {
  chat: ["chat", "completion"],
  completion: ["completion"],
  vision: ["chat", "ocr"],
  ocr: ["chat", "ocr"],
  embedding: ["embedding"],
  rerank: [],
};

export function takesKind({ task }: Pick<ModelSpec, "task">, kind: JobKind): boolean {
  return KINDS[task].includes(kind);
}

/** The model of that catalog id, or else of that name at its source, if it takes such jobs. */
export function findModel(models: readonly ModelSpec[], name: string, kind: JobKind): ModelSpec | null {
  const able = models.filter((model) => takesKind(model, kind));
  return able.find(({ id }) => id === name) ?? able.find(({ variant }) => isCalled(variant, name)) ?? null;
}

function isCalled({ source, location }: ModelSpec["variant"], name: string): boolean {
  // llama3.2 is Ollama's short form of llama3.2:latest.
  const full = (text: string) => (source === "ollama" && !/:[^/]*$/.test(text) ? `${text}:latest` : text);
  return full(location) === full(name);
}
