import { MusterError, toMusterError } from "../errors.ts";
import type { Digest, StoredModel } from "../model.ts";
import { keptKey } from "../store/kept-revisions.ts";
import { isComplete, readManifest } from "../store/manifest.ts";
import { describe } from "./describe.ts";
import type { HeldModel } from "./hold-lease.ts";
import type { LockedModel } from "./lock-file.ts";
import type { ModelProgress } from "./model-progress.ts";
import { moveModel } from "./move-model.ts";
import type { FilePlan } from "./store-plan.ts";
import type { SyncContext } from "./sync-context.ts";

/** Makes the locked revision the model's, of the very files that the lock names. Throws LOCKED_GONE where these cannot be had. */
export async function moveToLocked(
  locked: LockedModel,
  held: HeldModel,
  context: SyncContext,
  progress: ModelProgress,
): Promise<StoredModel> {
  const { variant } = held.spec;
  try {
    const known = await readManifest(context.layout, keptKey(held.key, locked.revision));
    const isThere = known !== null && (await isComplete(context.layout, known));
    // What stands in a folder under the names of the files may be something else by now.
    const isFolder = variant.source === "s3" || variant.source === "path";
    if (isFolder && !isThere && !context.offline) await describe({ ...variant, revision: locked.revision }, context);
    return await moveModel(planOfLock(locked), held, context, progress);
  } catch (cause) {
    throw isGone(toMusterError(cause)) ? lockedGone(locked, cause) : cause;
  }
}

/** What a lock names, as it is fetched. */
export function planOfLock({ revision, manifest, files }: LockedModel): FilePlan {
  return {
    revision,
    manifest: manifest ?? null,
    files: files.map(({ path, size, digest }) => {
      const [algorithm, hex] = digest.split(":") as [Digest["algorithm"], string];
      return { path, size, digest: { algorithm, hex } };
    }),
    vouched: [],
  };
}

/** What was named is not there any more, whoever is asked. */
export function isGone({ code }: MusterError): boolean {
  return ["FILE_NOT_FOUND", "REPO_NOT_FOUND", "REVISION_NOT_FOUND"].includes(code);
}

export function lockedGone({ location, requestedRevision, revision }: LockedModel, cause: unknown): MusterError {
  const { message } = toMusterError(cause);
  return new MusterError(
    "LOCKED_GONE",
    `${location} is locked to ${revision}, which its source does not give any more: ${message}`,
    {
      hint: `\`muster outdated ${location}\` shows what ${requestedRevision} is now; \`muster update ${location}\` and \`muster lock ${location}\` take that, or import the locked one from a volume that has it.`,
      cause,
    },
  );
}
