import { readFile } from "node:fs/promises";
import * as z from "zod";
import type { ContentPolicy } from "../content-policy.ts";
import { MusterError } from "../errors.ts";
import { type Architecture, type FileSpec, type Source, TASKS, type Variant, type VariantFacts } from "../model.ts";
import { type Layout, slug } from "../store/layout.ts";
import { manifestKey } from "../store/manifest.ts";
import { storeOf } from "../store/model-store.ts";
import { writeFileDurably } from "../store/write-durably.ts";
import { type AskOptions, briefly } from "./ask.ts";
import { type ChosenFiles, chooseFiles } from "./choose-files.ts";
import { describeStored } from "./describe-stored.ts";
import type { LockReader } from "./lock-file.ts";
import type { ModelServer } from "./model-server.ts";
import type { DescribeOptions, ModelDescription, ModelSurvey, Origin } from "./origin.ts";
import { refusePickles } from "./refuse-pickles.ts";
import { tryOrigins } from "./try-origins.ts";

export interface DescribeContext {
  layout: Layout;
  /** Where models of a source come from, in order of preference. */
  origins: Record<Source, readonly Origin[]>;
  ask: Omit<AskOptions, "signal">;
  /** Engines that keep the models of a source by themselves. */
  servers?: Partial<Record<Source, ModelServer>>;
  offline: boolean;
  contentPolicy: ContentPolicy;
  /** Only what this names is fetched, in these revisions; null or left out: whatever sources have. */
  lock?: LockReader | null;
  signal?: AbortSignal;
  /** What sources said in this process; a volume that cannot be written keeps nothing. */
  described?: Map<string, ModelDescription>;
  /** When (performance.now) a plan was told what is described: the fetch that follows at once does not ask again. */
  planned?: Map<string, number>;
  /** What sources showed at a glance, in this process. */
  surveyed?: Map<string, ModelSurvey>;
  /** A source is about to be asked: what is missing will be fetched. */
  onAsk?: () => void;
  /** An origin had no answer, and the next one is asked. */
  onFailover?: (error: MusterError, next: Origin) => void;
  /** No other is left, and this one has asked to be left alone for so long. */
  onWait?: (origin: Origin, waitMs: number) => void;
}

/** For so long a plan's answer is as good as a new one. */
const FRESH_MS = 10_000;

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
  weights: z.object({ weightsBytes: z.number(), projectorBytes: z.number() }).optional(),
  architecture: z.custom<Architecture>((value) => typeof value === "object").nullable(),
  manifest: z.string().nullable().default(null),
  /** Descriptions of older versions have none. */
  card: z
    .object({
      license: z.string().nullable(),
      gated: z.boolean(),
      task: z.enum(TASKS).nullable(),
      quantization: z.string().nullable(),
    })
    .optional(),
});

/** Asks the source, and keeps the answer on the volume where that can be written. */
export async function describe(variant: Variant, context: DescribeContext): Promise<ModelDescription> {
  const description = await askSource(variant, context);
  context.described?.set(descriptionPath(variant, context.layout), description);
  // Only a convenience: on a read-only volume the source is simply asked again.
  await writeFileDurably(
    descriptionPath(variant, context.layout),
    JSON.stringify({ formatVersion: 1, ...description }),
  ).catch(() => undefined);
  return description;
}

/** What the source says of it now; keeps nothing. `onClosed`: see DescribeOptions. */
export async function askSource(
  variant: Variant,
  context: DescribeContext,
  onClosed?: DescribeOptions["onClosed"],
): Promise<ModelDescription> {
  return (
    (await context.servers?.[variant.source]?.describe(variant, context.signal).catch(() => null)) ??
    (await askOrigins(variant, context, (origin, options) => origin.describe(variant, { ...options, onClosed })))
  );
}

/** What a plan needs: the description, or where that would mean to read the weights, what is seen without. */
async function survey(variant: Variant, context: DescribeContext): Promise<ModelSurvey> {
  if (!context.origins[variant.source].some((origin) => origin.survey)) {
    const description = await describe(variant, context);
    context.planned?.set(descriptionPath(variant, context.layout), performance.now());
    return description;
  }
  const found = await askOrigins(variant, context, (origin, options) =>
    (origin.survey ?? origin.describe)(variant, options),
  );
  context.surveyed?.set(descriptionPath(variant, context.layout), found);
  return found;
}

/** What the source has just told a plan, once; else asks it. */
export async function describeAfterPlan(variant: Variant, context: DescribeContext): Promise<ModelDescription> {
  context.signal?.throwIfAborted();
  const path = descriptionPath(variant, context.layout);
  const at = context.planned?.get(path);
  context.planned?.delete(path);
  const isFresh = at !== undefined && performance.now() - at < FRESH_MS;
  return (isFresh && context.described?.get(path)) || describe(variant, context);
}

/** What the source showed at a glance in this process; null where it was not looked at. */
export function knownSurvey(
  variant: Variant,
  { layout, surveyed }: Pick<DescribeContext, "layout" | "surveyed">,
): ModelSurvey | null {
  return surveyed?.get(descriptionPath(variant, layout)) ?? null;
}

async function askOrigins<T>(
  variant: Variant,
  context: DescribeContext,
  question: (origin: Origin, options: DescribeOptions) => Promise<T>,
): Promise<T> {
  const store = storeOf(context.layout, variant.source);
  if (context.offline) throw offlineMissing(variant);
  context.onAsk?.();
  const readStored = async (file: FileSpec, revision = "") => {
    const model = { location: variant.location, requestedRevision: variant.revision, revision };
    const text = await readFile(store.blob(model, file), "utf8").catch(() => null);
    return text !== null && Buffer.byteLength(text) === file.size ? text : null;
  };
  const options = { ...context.ask, signal: context.signal, readStored };
  return tryOrigins(
    context.origins[variant.source],
    (origin, isPatient) => question(origin, isPatient ? options : briefly(options)),
    context,
  );
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

/** The files of a description that the variant needs, and may have. Throws as chooseFiles does. */
export function chosenFiles<File extends ModelSurvey["files"][number]>(
  variant: Variant,
  { files, weights }: Pick<ModelSurvey, "weights"> & { files: File[] },
  { contentPolicy }: Pick<DescribeContext, "contentPolicy">,
): ChosenFiles<File> {
  if (weights) return { files, ...weights };
  const allowPickle = variant.allowPickle || contentPolicy.pickles === "allow";
  const chosen = chooseFiles(files, { ...variant, allowPickle });
  refusePickles(variant.location, chosen.files, contentPolicy);
  return chosen;
}

/** What selection needs of a description. */
function toFacts(variant: Variant, description: ModelSurvey, context: DescribeContext): VariantFacts {
  const { weightsBytes, projectorBytes } = chosenFiles(variant, description, context);
  return {
    weightsBytes: weightsBytes > 0 ? weightsBytes : null,
    projectorBytes,
    architecture: description.architecture,
    license: description.card?.license ?? null,
  };
}

/**
 * Facts of many variants, from the volume where they are known or a model is complete, and else from their sources, all at once. What cannot be
 * had is left out and told to `onFailure`: selection then goes by what the catalog declares.
 */
export async function collectFacts(
  variants: readonly Variant[],
  context: DescribeContext,
  onFailure: (variant: Variant, error: unknown) => void,
): Promise<Map<Variant, VariantFacts>> {
  const facts = new Map<Variant, VariantFacts>();
  // One that cannot be read is told of where something is to be fetched by it.
  const lock = await context.lock?.().catch(() => null);
  await Promise.all(
    variants.map(async (variant) => {
      try {
        const locked = lock?.get(manifestKey(variant))?.revision;
        const asked = { ...variant, revision: locked ?? variant.revision };
        const known = (await knownDescription(asked, context)) ?? (await stored(variant, context, locked));
        const isEnough = known?.card || !context.contentPolicy.licenses || context.offline;
        facts.set(variant, toFacts(variant, known && isEnough ? known : await survey(asked, context), context));
      } catch (error) {
        onFailure(variant, error);
      }
    }),
  );
  return facts;
}

/** What keeps it from being read is told by whoever needs the model itself. */
async function stored(variant: Variant, { layout, servers }: DescribeContext, locked?: string) {
  return servers?.[variant.source] ? null : describeStored(variant, layout, locked).catch(() => null);
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

function descriptionPath({ source, location, revision }: Variant, layout: Layout): string {
  return layout.description(slug(`${source}--${location}@${revision}`));
}
