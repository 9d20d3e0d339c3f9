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

/** What a name has to be, for hints. */
export const NAME_FORM =
  "[host/][namespace/]model[:tag], each part of at most 80 letters, digits, dots, dashes and underscores, without dots in the namespace";

/** Null for a name that Ollama itself would not take. */
export function readOllamaName(text: string): OllamaName | null {
  const [, scheme, rest = ""] = /^(?:(https?):\/\/)?(.*)$/s.exec(text) ?? [];
  const [last = "", namespace = "library", host = OLLAMA_HOST, ...more] = rest.split("/").reverse();
  const [model = "", tag = "latest", ...evenMore] = last.split(":");
  const valid =
    [...more, ...evenMore].length === 0 &&
    HOST.test(host) &&
    NAMESPACE.test(namespace) &&
    PART.test(model) &&
    PART.test(tag);
  return valid ? { scheme: scheme === "http" ? "http" : "https", host, namespace, model, tag } : null;
}

/** Throws CATALOG_INVALID for a name that Ollama itself would not take. */
export function parseOllamaName(text: string): OllamaName {
  const name = readOllamaName(text);
  if (name) return name;
  throw new MusterError("CATALOG_INVALID", `${JSON.stringify(text)} is not a name that Ollama takes.`, {
    hint: `Correct the variant's \`name\` in the catalog: ${NAME_FORM}; then run \`muster plan\`.`,
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
