import { createHash } from "node:crypto";
import { dirname } from "node:path";
import * as z from "zod";
import type { FileSpec, StoredModel } from "../../model.ts";
import { slug } from "../../store/layout.ts";
import { parseOllamaName } from "../../store/ollama-name.ts";
import { isSafePath } from "../sources/safe-path.ts";

type Model = Pick<StoredModel, "key" | "source" | "location" | "requestedRevision" | "revision" | "manifest" | "files">;

/** Two parts at most, each of what a hub allows; nothing that leads anywhere. */
const REPO = /^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/;
const LONGEST = 200;

const ollamaManifest = z.object({
  config: z.object({ digest: z.string(), size: z.int() }),
  layers: z.array(z.object({ digest: z.string(), size: z.int() })),
});

/**
 * Why a model that somebody else describes may not be placed on the volume, in words, or null. Names of a record become
 * paths there (a branch is a file below refs/), and an engine would trip over a model whose parts do not belong together.
 */
export function whyNotPlaceable(model: Model): string | null {
  const { key, source, location, requestedRevision, files } = model;
  const named = `${slug(`${source}--${location}@${requestedRevision}`)}--`;
  if (!key.startsWith(named) || !/^[0-9a-f]{8}$/.test(key.slice(named.length)))
    return "the record has a name of another";
  if (key.length > LONGEST) return "the name is too long";
  return (
    crossingPath(files) ?? (source === "ollama" ? ollama(model) : source === "huggingface" ? hub(model) : folder(model))
  );
}

/** Two files of one path, or a file where another needs a folder. */
function crossingPath(files: readonly FileSpec[]): string | null {
  const paths = new Set(files.map(({ path }) => path));
  if (paths.size < files.length) return "a file comes twice";
  for (const path of paths) {
    for (let above = dirname(path); above !== "."; above = dirname(above))
      if (paths.has(above)) return `${JSON.stringify(above)} is a file and a folder`;
  }
  return null;
}

function hub({ location, requestedRevision, revision, manifest, files }: Model): string | null {
  if (!REPO.test(location) || location.includes("..")) return "the name is none of a repository";
  if (!/^[0-9a-f]{40}$/.test(revision)) return "the revision is no commit";
  if (!isSafePath(requestedRevision) || requestedRevision.startsWith("-")) return "the branch leads elsewhere";
  if (manifest !== null || files.length === 0) return "the files are not those of a repository";
  return null;
}

function folder({ revision, manifest, files }: Model): string | null {
  if (!/^\w[\w.:-]*$/.test(revision) || revision.length > LONGEST) return "the revision leads elsewhere";
  if (manifest !== null || files.length === 0) return "the files are not those of a folder";
  return null;
}

/** Its manifest is what Ollama goes by: it has to be the very one of the revision, and to name exactly these blobs. */
function ollama({ location, revision, manifest, files }: Model): string | null {
  if (!isOllamaName(location)) return "the name is none that Ollama takes";
  if (manifest === null || createHash("sha256").update(manifest).digest("hex") !== revision)
    return "the manifest is not the one of its revision";
  const parsed = ollamaManifest.safeParse(parseJson(manifest));
  if (!parsed.success) return "the manifest cannot be understood";
  const named = new Map([parsed.data.config, ...parsed.data.layers].map(({ digest, size }) => [digest, size]));
  const isNamed = ({ path, size, digest }: FileSpec) =>
    digest.algorithm === "sha256" &&
    path === `blobs/sha256-${digest.hex}` &&
    named.get(`sha256:${digest.hex}`) === size;
  return files.length === named.size && files.every(isNamed) ? null : "the files are not those of its manifest";
}

function isOllamaName(text: string): boolean {
  try {
    parseOllamaName(text);
    return true;
  } catch {
    return false;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
