import { type JobKind, type ModelSpec, takesKind } from "../model.ts";

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
