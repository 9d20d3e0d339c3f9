import type { ObjectStore } from "../../settings/object-store.ts";
import type { HttpClient } from "../http-client.ts";
import type { Bucket } from "./bucket.ts";

/** Opens a bucket by name. The SDK is large: it loads with the first one, and never where nothing is in a bucket. */
export type OpenBucket = (name: string) => Promise<Bucket>;

export function bucketOpener(store: ObjectStore, client: HttpClient): OpenBucket {
  let opening: Promise<(name: string) => Bucket> | null = null;
  return async (name) => {
    opening ??= import("./bucket.ts").then(async ({ connectBuckets }) =>
      connectBuckets(store, await client.dispatcher()),
    );
    return (await opening)(name);
  };
}
