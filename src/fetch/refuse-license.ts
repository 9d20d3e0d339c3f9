import { judgeLicense } from "../content-policy.ts";
import type { ModelSpec } from "../model.ts";
import { manifestKey, readManifest } from "../store/manifest.ts";
import { type DescribeContext, describe, knownDescription } from "./describe.ts";

/**
 * The operator's policy, held where bytes would begin to move, or are about to be used: a plan may have been made without
 * an answer of the source.
 */

type Subject = Pick<ModelSpec, "variant" | "license">;

/** `revision`: the one that is locked, where one is. Throws LICENSE_REFUSED; asks the source where nothing else knows, and throws what is wrong with that. */
export async function refuseLicense(spec: Subject, context: DescribeContext, revision?: string): Promise<void> {
  const policy = context.contentPolicy.licenses;
  if (policy?.refuse) refuseFoundLicense(spec, await foundLicense(spec, context, revision), context);
}

/** The same once the source has said what it knows. */
export function refuseFoundLicense(
  { variant, license }: Subject,
  found: string | null,
  { contentPolicy }: Pick<DescribeContext, "contentPolicy">,
): void {
  const { refused } = judgeLicense(variant.location, { declared: license, found }, contentPolicy.licenses);
  if (refused) throw refused;
}

async function foundLicense(
  { variant, license }: Subject,
  context: DescribeContext,
  revision = variant.revision,
): Promise<string | null> {
  const asked = { ...variant, revision };
  const known = await knownDescription(asked, context);
  if (known?.card) return known.card.license;
  const record = await readManifest(context.layout, manifestKey(variant));
  if (record?.license || context.offline) return record?.license ?? null;
  try {
    return (await describe(asked, context)).card?.license ?? null;
  } catch (error) {
    // What is on the volume already is used while its source is away, by the catalog's word.
    if (record && license !== null) return null;
    throw error;
  }
}
