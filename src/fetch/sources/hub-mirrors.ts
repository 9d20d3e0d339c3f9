import { toMusterError } from "../../errors.ts";
import type { Place } from "../../place.ts";
import type { Origin } from "../origin.ts";
import { bucketShelf } from "../s3/bucket-shelf.ts";
import type { OpenBucket } from "../s3/open-bucket.ts";
import { huggingFaceOrigin } from "./huggingface.ts";
import { mirrorOrigin } from "./mirror.ts";
import { folderShelf } from "./path.ts";
import { volumeOrigin } from "./volume.ts";

/**
 * The places of HF_ENDPOINT as origins, in their order. Each hub that is named there is sent the token: who sets both
 * means it, and no host that a hub leads to gets it. Buckets and folders get none.
 */
export function hubMirrors(
  places: readonly Place[],
  { token, openBucket }: { token: string | null; openBucket: OpenBucket },
): Origin[] {
  return places.map((place) => {
    if (place.kind === "hub") return huggingFaceOrigin({ endpoint: place.endpoint, token });
    if (place.kind === "s3") return mirrorOrigin(bucketShelf(place, openBucket));
    return folderMirror(place.path);
  });
}

/** A folder that `muster push` has filled, or that another worker uses as its volume, or both. */
function folderMirror(path: string): Origin {
  const pushed = mirrorOrigin(folderShelf(path));
  const volume = volumeOrigin(path);
  const either = async <T>(ask: (origin: Origin) => Promise<T>): Promise<T> => {
    try {
      return await ask(pushed);
    } catch (error) {
      // The more telling error of the two: another revision there says more than nothing here.
      const isElsewhere = toMusterError(error).code === "REPO_NOT_FOUND";
      return ask(volume).catch((second: unknown) => Promise.reject(isElsewhere ? second : error));
    }
  };
  return {
    name: path,
    describe: (variant, options) => either((origin) => origin.describe(variant, options)),
    locate: (variant, revision, file, options) => either((origin) => origin.locate(variant, revision, file, options)),
  };
}
