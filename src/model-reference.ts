import type { Variant } from "./model.ts";
import { parseBucket, parseFolder, showPlace } from "./place.ts";

/**
 * How models beyond the catalog are named: `hf:org/name[@revision]`, `ollama:[namespace/]name[:tag]`, `s3://bucket/prefix`.
 * Folders have no such name: nobody outside a machine is to say what is read there.
 */

/** Where a model is had from, by its name. */
export interface NamedSource extends Pick<Variant, "location" | "revision"> {
  source: "huggingface" | "ollama" | "s3";
  /** Of an Ollama name that asks a host of its own; null for the usual places. */
  host: string | null;
}

/** What a variant has whose catalog entry names no revision. */
const USUAL_REVISION = "main";
const LONGEST = 512;
const HUB_NAME = /^([\w-][\w.-]*(?:\/[\w-][\w.-]*)?)(?:@(\w[\w./-]*))?$/;
const OLLAMA_NAME = /^(?:(?:(\w[\w.:-]*)\/)?\w[\w-]*\/)?\w[\w.-]*(?::\w[\w.-]*)?$/;

/** The source that a reference names; null for any other text, as the ids of a catalog are. */
export function parseReference(text: string): NamedSource | null {
  const [, scheme, rest = ""] = /^(hf|ollama|s3):(.+)$/s.exec(text) ?? [];
  if (text.length > LONGEST) return null;
  if (scheme === "hf") return hubSource(rest);
  if (scheme === "ollama") return ollamaSource(rest);
  const place = scheme === "s3" ? parseBucket(text) : null;
  // A bucket as a whole is no model.
  if (!place?.prefix) return null;
  return { source: "s3", location: showPlace(place), revision: USUAL_REVISION, host: null };
}

/** The same with folders (an absolute path or a file:// URL), for who may name them: an operator on the machine itself. */
export function parseOperatorReference(text: string): (Omit<NamedSource, "source"> & Pick<Variant, "source">) | null {
  const named = parseReference(text);
  if (named) return named;
  const folder = text.startsWith("s3:") ? null : parseFolder(text);
  return folder && { source: "path", location: folder.path, revision: USUAL_REVISION, host: null };
}

/** The one spelling of a reference. */
export function showReference({ source, location, revision }: Pick<NamedSource, "source" | "location" | "revision">) {
  if (source === "s3") return location;
  return source === "ollama"
    ? `ollama:${location}`
    : `hf:${location}${revision === USUAL_REVISION ? "" : `@${revision}`}`;
}

function hubSource(text: string): NamedSource | null {
  const [, location, revision = USUAL_REVISION] = HUB_NAME.exec(text) ?? [];
  if (location === undefined || revision.split("/").some((part) => ["", ".", ".."].includes(part))) return null;
  return { source: "huggingface", location, revision, host: null };
}

function ollamaSource(text: string): NamedSource | null {
  const match = OLLAMA_NAME.exec(text);
  if (!match) return null;
  return {
    source: "ollama",
    location: text.replace(/:latest$/, ""),
    revision: USUAL_REVISION,
    host: match[1] ?? null,
  };
}
