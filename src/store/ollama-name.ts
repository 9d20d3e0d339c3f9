import { MusterError } from "../errors.ts";

/** An Ollama model name, taken apart as Ollama does: `[scheme://][host/][namespace/]model[:tag]`. */
export interface OllamaName {
  /** How its host is asked; `http` only where the name says so. */
  scheme: "https" | "http";
  /** With its port, as it stands in the store's folders. */
  host: string;
  namespace: string;
  model: string;
  tag: string;
}

/** The host of names that give none. */
export const OLLAMA_HOST = "registry.ollama.ai";
const HOST = /^[A-Za-z0-9_][\w.:-]{0,349}$/;
const NAMESPACE = /^[A-Za-z0-9_][\w-]{0,79}$/;
const PART = /^[A-Za-z0-9_][\w.-]{0,79}$/;

/** Throws CATALOG_INVALID for a name that Ollama itself would not take. */
export function parseOllamaName(text: string): OllamaName {
  const [, scheme, rest = ""] = /^(?:(https?):\/\/)?(.*)$/s.exec(text) ?? [];
  const [last = "", namespace = "library", host = OLLAMA_HOST, ...more] = rest.split("/").reverse();
  const [model = "", tag = "latest", ...evenMore] = last.split(":");
  const valid =
    [...more, ...evenMore].length === 0 &&
    HOST.test(host) &&
    NAMESPACE.test(namespace) &&
    PART.test(model) &&
    PART.test(tag);
  if (valid) return { scheme: scheme === "http" ? "http" : "https", host, namespace, model, tag };
  throw new MusterError("CATALOG_INVALID", `${JSON.stringify(text)} is not a name that Ollama takes.`, {
    hint: "Correct the variant's `name` in the catalog: [host/][namespace/]model[:tag], each part of at most 80 letters, digits, dots, dashes and underscores, without dots in the namespace; then run `muster plan`.",
  });
}

/** All parts of a name in one spelling: Ollama takes names without regard to case, and however much of them is written. */
export function fullName(text: string): string {
  const { host, namespace, model, tag } = parseOllamaName(text);
  return `${host}/${namespace}/${model}:${tag}`.toLowerCase();
}

/** The manifest digest, in hex, that a catalog's revision pins; null where it leaves that to the tag. */
export function pinnedDigest(revision: string): string | null {
  return /^(?:sha256:)?([0-9a-f]{64})$/.exec(revision)?.[1] ?? null;
}
