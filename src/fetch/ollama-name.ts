import { MusterError } from "../errors.ts";

/** An Ollama model name, taken apart as Ollama does: `[scheme://][host/][namespace/]model[:tag]`. */
export interface OllamaName {
  scheme: "https" | "http";
  /** With its port, as it stands in the store's folders. */
  host: string;
  namespace: string;
  model: string;
  tag: string;
}

const DEFAULT_HOST = "registry.ollama.ai";
const PART = /^[A-Za-z0-9_][\w.-]{0,79}$/;
const HOST = /^[A-Za-z0-9_][\w.:-]{0,349}$/;

/** Throws CATALOG_INVALID for a name that Ollama itself would not take. */
export function parseOllamaName(text: string): OllamaName {
  const [, scheme = "https", rest = ""] = /^(?:(https?):\/\/)?(.*)$/.exec(text) ?? [];
  const parts = rest.split("/");
  const last = parts.pop() ?? "";
  const [model = "", tag = "latest"] = last.split(":");
  const namespace = parts.pop() ?? "library";
  const host = parts.pop() ?? DEFAULT_HOST;
  const valid =
    parts.length === 0 &&
    last.split(":").length <= 2 &&
    HOST.test(host) &&
    PART.test(namespace) &&
    !namespace.includes(".") &&
    PART.test(model) &&
    PART.test(tag);
  if (valid) return { scheme: scheme as OllamaName["scheme"], host, namespace, model, tag };
  throw new MusterError("CATALOG_INVALID", `${JSON.stringify(text)} is not a name that Ollama takes.`, {
    hint: "Write [host/][namespace/]model[:tag], each part of at most 80 letters, digits, dots, dashes and underscores, without dots in the namespace.",
  });
}

/** Where the registry of a name is asked. `defaultRegistry` stands in for registry.ollama.ai (a mirror). */
export function registryUrl({ scheme, host }: OllamaName, defaultRegistry: string): string {
  if (host === DEFAULT_HOST) return defaultRegistry;
  // Both names lead to one place, but only the long one serves models whose publisher limits access.
  return `${scheme}://${host === "hf.co" ? "huggingface.co" : host}`;
}
