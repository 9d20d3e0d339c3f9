import type { KV, KvWatchEntry } from "@nats-io/kv";
import type { Logger } from "../../log.ts";
import type { NatsLink } from "./link.ts";

const AGAIN_MS = 500;

/** Calls with each entry, first with all there are; again with all after the connection was away. Gives what ends it. */
export function watchBucket(
  link: NatsLink,
  bucket: KV,
  calls: { entry(entry: KvWatchEntry): void; log: Logger },
): () => void {
  let ended = false;
  let current: { stop(): void } | null = null;
  const follow = async () => {
    const watch = await bucket.watch();
    if (ended) return watch.stop();
    current = watch;
    for await (const entry of watch) calls.entry(entry);
  };
  const begin = () => {
    current?.stop();
    if (ended || !link.isUp()) return;
    follow().catch((error: unknown) => {
      calls.log.debug({ err: error }, "A watch of NATS broke off");
      if (!ended) setTimeout(begin, AGAIN_MS).unref();
    });
  };
  link.onUp(begin);
  begin();
  return () => {
    ended = true;
    current?.stop();
  };
}
