import { readFile } from "node:fs/promises";
import { z } from "zod";
import { MusterError } from "../errors.ts";
import type { Architecture, FileSpec, Variant, VariantFacts } from "../model.ts";
import { hasBlob } from "../store/hub-cache.ts";
import { type Layout, slug } from "../store/layout.ts";
import { writeFileDurably } from "../store/write-durably.ts";
import { chooseFiles } from "./choose-files.ts";
import { describeRepo, type HubOptions, readRepoFile } from "./hub-client.ts";
import { readArchitecture } from "./read-architecture.ts";

/** What a source says of a model, without its weights. */
export interface ModelDescription {
  /** What the revision stood for. */
  revision: string;
  /** All files of the source; {@link chooseFiles} takes from them. */
  files: FileSpec[];
  architecture: Architecture | null;
}

/** Bytes; a larger one is not a configuration. */
const LARGEST_CONFIG = 1 << 20;

export interface DescribeContext {
  layout: Layout;
  hub: HubOptions;
  offline: boolean;
  signal?: AbortSignal;
  /** What sources said in this process; a volume that cannot be written keeps nothing. */
  described?: Map<string, ModelDescription>;
}

const descriptionSchema = z.object({
  formatVersion: z.literal(1),
  revision: z.string(),
  files: z.array(
    z.object({
      path: z.string(),
      size: z.number(),
      digest: z.object({ algorithm: z.enum(["sha256", "git-sha1"]), hex: z.string() }),
    }),
  ),
  architecture: z.custom<Architecture>((value) => typeof value === "object").nullable(),
});

/** Asks the source, and keeps the answer on the volume where that can be written. */
export async function describe(variant: Variant, context: DescribeContext): Promise<ModelDescription> {
  if (variant.source !== "huggingface") throw unsupported(variant);
  if (context.offline) throw offlineMissing(variant);
  const { commit, files } = await describeRepo(variant.location, variant.revision, context.hub, context.signal);
  const config = files.find(({ path }) => path === "config.json");
  const text = config ? await readConfig(config, { repo: variant.location, commit }, context) : null;
  const description = { revision: commit, files, architecture: text === null ? null : readArchitecture(text) };
  context.described?.set(descriptionPath(variant, context.layout), description);
  // Only a convenience: on a read-only volume the source is simply asked again.
  await writeFileDurably(
    descriptionPath(variant, context.layout),
    JSON.stringify({ formatVersion: 1, ...description }),
  ).catch(() => undefined);
  return description;
}

/** The text of a config.json: from the cache, where an interrupted fetch has left it, else from the hub. */
async function readConfig(
  config: FileSpec,
  { repo, commit }: { repo: string; commit: string },
  context: DescribeContext,
): Promise<string | null> {
  if (config.size > LARGEST_CONFIG) return null;
  if (await hasBlob(context.layout.hub, repo, config))
    return readFile(context.layout.hub.blob(repo, config.digest), "utf8");
  return readRepoFile(repo, commit, config.path, context.hub, context.signal);
}

/** The source's last answer, from this process or the volume; null where there is none. */
export async function knownDescription(
  variant: Variant,
  { layout, described }: Pick<DescribeContext, "layout" | "described">,
): Promise<ModelDescription | null> {
  const path = descriptionPath(variant, layout);
  try {
    return described?.get(path) ?? descriptionSchema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch {
    return null;
  }
}

/** What selection needs of a description. */
export function toFacts(variant: Variant, description: ModelDescription): VariantFacts {
  const { weightsBytes, projectorBytes } = chooseFiles(description.files, variant);
  return {
    weightsBytes: weightsBytes > 0 ? weightsBytes : null,
    projectorBytes,
    architecture: description.architecture,
  };
}

/**
 * Facts of many variants, from the volume where they are known and else from their sources, all at once. What cannot be
 * had is left out and told to `onFailure`: selection then goes by what the catalog declares.
 */
export async function collectFacts(
  variants: readonly Variant[],
  context: DescribeContext,
  onFailure: (variant: Variant, error: unknown) => void,
): Promise<Map<Variant, VariantFacts>> {
  const facts = new Map<Variant, VariantFacts>();
  await Promise.all(
    variants.map(async (variant) => {
      try {
        const known = await knownDescription(variant, context);
        if (!known && variant.source !== "huggingface") return;
        facts.set(variant, toFacts(variant, known ?? (await describe(variant, context))));
      } catch (error) {
        onFailure(variant, error);
      }
    }),
  );
  return facts;
}

export function offlineMissing(variant: Variant): MusterError {
  return new MusterError(
    "OFFLINE_MISSING",
    `${variant.location} is not complete on the volume, and HF_HUB_OFFLINE is set.`,
    {
      hint: "Run `muster sync` once with HF_HUB_OFFLINE unset, where there is a network.",
    },
  );
}

export function unsupported(variant: Variant): MusterError {
  return new MusterError(
    "SOURCE_UNSUPPORTED",
    `This version cannot fetch from ${variant.source} (${variant.location}).`,
    {
      hint:
        variant.source === "ollama"
          ? `Run \`ollama pull ${variant.location}\` beside this worker; muster does not keep Ollama models itself yet.`
          : "Use a huggingface variant of the model.",
    },
  );
}

function descriptionPath({ source, location, revision }: Variant, layout: Layout): string {
  return layout.description(slug(`${source}--${location}@${revision}`));
}
