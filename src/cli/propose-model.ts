import { statSync } from "node:fs";
import { resolve } from "node:path";
import { licenseObjection } from "../content-policy.ts";
import { MusterError } from "../errors.ts";
import { lookUp } from "../fetch/look-up.ts";
import { bytes } from "../fetch/progress-log.ts";
import type { SyncContext } from "../fetch/sync-context.ts";
import { type Engine, plainVariant, type Task } from "../model.ts";
import { parseOperatorReference } from "../model-reference.ts";
import { GIB } from "../select/fit.ts";
import { proposeEntry, usualEngine, usualId, type WrittenModel } from "../select/propose-entry.ts";
import type { CardFit } from "../select/smallest-card.ts";
import { card } from "./catalog-show.ts";
import { table } from "./output.ts";

export interface ProposeOptions {
  task?: Task;
  engine?: Engine;
  quantization?: string;
  allowPickle?: boolean;
  /** Write the commit or digest that the source has now, so that the model stays what it is. */
  pin?: boolean;
}

/** What a catalog could say of a model, and how that was found out. */
export interface Proposal {
  reference: string;
  id: string;
  revision: string;
  files: number;
  /** To be fetched. */
  bytes: number;
  license: string | null;
  gated: boolean;
  fits: CardFit;
  entry: WrittenModel;
  /** What somebody should know or look at, and why something is not known. */
  notes: string[];
}

/** Asks the model's source. Throws MusterError: USAGE for what is no reference. */
export async function propose(
  reference: string,
  id: string | undefined,
  { fetching, ...options }: ProposeOptions & { fetching: SyncContext },
): Promise<Proposal> {
  const named = parseOperatorReference(absolute(reference));
  if (!named) throw noReference(reference);
  const { source, location, revision } = named;
  const { quantization = null, allowPickle = false } = options;
  const found = await lookUp(
    plainVariant({
      ...{ id: reference, source, location, revision, allowPickle, quantization },
      ...(quantization !== null && source !== "ollama" ? { format: "gguf" as const } : {}),
    }),
    fetching,
  );
  const { card: said, facts, closed } = found;
  const task = options.task ?? said.task ?? "chat";
  const engine = options.engine ?? usualEngine(source, task);
  const pinned = options.pin ? { revision: found.revision } : {};
  const variant = { ...found.variant, engine, ...pinned };
  const { entry, fits } = proposeEntry({ variant, facts, license: said.license, gated: said.gated, task });
  const { licenses } = fetching.contentPolicy;
  const objection =
    said.license === null ? null : licenseObjection(location, { declared: null, found: said.license }, licenses);
  const notes = [
    ...closed.map(({ message, hint }) => `${message} ${hint}`),
    ...(said.task || options.task
      ? []
      : ["Nothing says what it is for; it is taken for chat, and --task says otherwise"]),
    ...(said.license === null ? ["Nothing says its licence; look it up and add `license`"] : []),
    ...(objection ? [objection.message] : []),
    ...(said.gated ? [`Access has to be asked for: ask at its page, and give workers a token (HF_TOKEN_FILE)`] : []),
    ...(facts.architecture === null
      ? ["Its shape is not known, so the memory for its context is not reckoned with; add `architecture`"]
      : []),
    ...(fits.reason === null ? [] : [`No card can be named: ${fits.reason}`]),
    ...(variant.format === "pickle"
      ? ["Its weights are pickles, and loading them can run code; pin it with --pin"]
      : []),
    ...(variant.format === "gguf" && engine !== "ollama"
      ? ["It is GGUF: llama.cpp (--engine openai) and vLLM load it, and `muster import-gguf` brings it to Ollama"]
      : []),
  ];
  return {
    ...{ reference, id: id ?? usualId(named), revision: found.revision, files: found.files, bytes: found.bytes },
    ...{ license: said.license, gated: said.gated, fits, entry, notes },
  };
}

/** The proposals as a file that could stand as an overlay. */
export function proposedFile(proposals: readonly Proposal[]): { models: Record<string, WrittenModel> } {
  return { models: Object.fromEntries(proposals.map(({ id, entry }) => [id, entry])) };
}

export function proposalInWords({ reference, id, entry, fits, notes, ...found }: Proposal): string {
  const [variant] = entry.variants;
  const context = fits.context === null ? "" : ` with ${fits.context} tokens`;
  const lines = [
    ["model", `${id}: ${reference} at ${found.revision.slice(0, 12)}`],
    ["task", entry.task],
    ["licence", `${found.license ?? "not known"}${found.gated ? ", gated" : ""}`],
    [
      "format",
      [variant?.format ?? (variant?.source === "ollama" ? "gguf" : "safetensors"), variant?.quantization]
        .filter(Boolean)
        .join(" "),
    ],
    ["size", `${bytes(found.bytes)} in ${found.files} files`],
    ["needs", fits.needBytes === null ? "not known" : `${(fits.needBytes / GIB).toFixed(1)} GiB${context}`],
    ["smallest card", card(fits)],
    ...notes.map((note) => ["note", note]),
  ];
  return table(lines.map(([name = "", value = ""]) => [name, value]));
}

/** A folder that is named from here. */
function absolute(reference: string): string {
  return /^\.{1,2}(\/|$)/.test(reference) ? resolve(reference) : reference;
}

function noReference(reference: string): MusterError {
  const isFolder = statSync(reference, { throwIfNoEntry: false })?.isDirectory() ?? false;
  const meant = isFolder
    ? `Did you mean ./${reference}? `
    : /^[\w-][\w.-]*\/[\w.-]+$/.test(reference)
      ? `Did you mean hf:${reference}? `
      : "";
  return new MusterError("USAGE", `${JSON.stringify(reference)} names no model.`, {
    hint: `${meant}Models are named hf:org/name[@revision], ollama:name[:tag], s3://bucket/folder, or /folder.`,
  });
}
