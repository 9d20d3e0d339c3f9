import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import type { StatusBoard } from "../status.ts";
import { isKept, nameOf } from "../store/kept-revisions.ts";
import type { Layout } from "../store/layout.ts";
import { listManifests } from "../store/manifest.ts";
import { usedBytes } from "../store/used-bytes.ts";
import { diskSpace } from "../system.ts";
import { USER_AGENT } from "./ask.ts";
import type { KeepObserver } from "./keep-models.ts";
import { Lanes } from "./transfer/lanes.ts";
import { keepScrubbed } from "./verify/scrub.ts";

/** Sizes change without records doing so, while something is fetched. */
const LOOK_MS = 60_000;
const SCRUB_RATE = 50e6;

export interface VolumeKeeper {
  observer: KeepObserver;
  /** Settles after the signal. */
  ended: Promise<void>;
}

interface VolumeKeeperOptions {
  config: Config;
  layout: Layout;
  board: StatusBoard;
  log: Logger;
  signal: AbortSignal;
}

/** Keeps the status board's view of the volume as it is, and, where that is wanted, checks what is stored in the background. */
export function keepVolume({ config, layout, board, log, signal }: VolumeKeeperOptions): VolumeKeeper {
  const { modelCacheDir, scrubIntervalMs, verifyRate, stallTimeoutMs } = config;
  let known: Set<string> | null = null;
  let looking = Promise.resolve();
  const look = () => {
    looking = looking.then(async () => {
      const records = new Map(
        (await listManifests(layout)).filter((model) => !isKept(model)).map((model) => [model.key, model]),
      );
      for (const key of known ?? []) if (!records.has(key)) board.note({ type: "eviction" });
      known = new Set(records.keys());
      const { free, size } = await diskSpace(modelCacheDir);
      const modelBytes = await usedBytes(layout.modelFolders);
      board.setVolume({ sizeBytes: size, freeBytes: free, modelBytes, models: records.size });
    });
    looking = looking.catch((error: unknown) => log.debug({ err: error }, "Looking at the volume failed"));
  };
  look();
  const timer = setInterval(look, LOOK_MS);
  timer.unref();
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  const scrubbing =
    scrubIntervalMs === 0
      ? Promise.resolve()
      : keepScrubbed({
          layout,
          intervalMs: scrubIntervalMs,
          signal,
          openLanes: () =>
            new Lanes({
              ...{ connections: 1, stallTimeoutMs, userAgent: USER_AGENT, verify: true },
              bandwidth: verifyRate ?? SCRUB_RATE,
            }),
          onStatus: (scrub) => board.setVolume({ scrub }),
          onChecked: (bytes) => board.note({ type: "verified", bytes }),
          onWrong(model, path, what) {
            board.note({ type: "wrong-file", source: model.source });
            const name = nameOf(model);
            log.error({ code: "MODEL_DAMAGED", hint: `muster verify ${name} --repair` }, `${path} of ${name}: ${what}`);
          },
        });
  return {
    observer: {
      onProgress: () => undefined,
      onNote: () => undefined,
      onVolumeChange: look,
      onFetchEvent: ({ variant: { source } }, event) => board.note({ type: "fetch", source, event }),
      onLeaseWait: (_spec, waitedMs) => board.note({ type: "lease-wait", seconds: waitedMs / 1000 }),
    },
    ended: scrubbing.then(() => looking),
  };
}
