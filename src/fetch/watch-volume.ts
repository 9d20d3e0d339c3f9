import { watch } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Layout } from "../store/layout.ts";

const POLL_MS = 2_000;

/**
 * Calls back when a record on the volume appears, changes or goes: another process, perhaps on another host, has fetched
 * or removed a model. File events make it immediate where there are any; network file systems have none, so it polls too.
 */
export async function watchVolume(layout: Layout, onChange: () => void, signal: AbortSignal): Promise<void> {
  let wake = new AbortController();
  let seen = await fingerprint(layout);
  let changed = false;
  let watcher: ReturnType<typeof watch> | null = null;
  while (!signal.aborted) {
    try {
      watcher ??= watch(layout.manifests, { signal }, () => wake.abort()).on("error", () => undefined);
    } catch {
      // The folder is not there yet, or the file system has no events.
    }
    await sleep(POLL_MS, undefined, { signal: AbortSignal.any([signal, wake.signal]) }).catch(() => undefined);
    if (signal.aborted) break;
    const wasWoken = wake.signal.aborted;
    wake = new AbortController();
    const now = await fingerprint(layout);
    const isNew = now !== seen;
    // The reference that completes a model follows its record, and nothing tells of that: so another look, some time later.
    if (isNew || (changed && !wasWoken)) onChange();
    changed = isNew || (changed && wasWoken);
    seen = now;
  }
  watcher?.close();
}

async function fingerprint(layout: Layout): Promise<string> {
  const names = (await readdir(layout.manifests).catch(() => [])).filter((name) => name.endsWith(".json")).sort();
  const times = await Promise.all(
    names.map(async (name) => `${name}:${(await stat(join(layout.manifests, name)).catch(() => null))?.mtimeMs}`),
  );
  return times.join("\n");
}
