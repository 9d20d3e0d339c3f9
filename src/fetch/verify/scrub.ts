import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import type { FileSpec, StoredModel } from "../../model.ts";
import type { ScrubStatus } from "../../status.ts";
import type { Layout } from "../../store/layout.ts";
import { tryLease } from "../../store/lease.ts";
import { listManifests } from "../../store/manifest.ts";
import { writeFileDurably } from "../../store/write-durably.ts";
import type { Lanes } from "../transfer/lanes.ts";
import { checkFiles, isChanging } from "./check-model.ts";

/** How far the check of everything has come; on the volume, so that whoever does it next goes on from there. */
const stateSchema = z.object({
  formatVersion: z.literal(1),
  /** RFC 3339. */
  startedAt: z.string(),
  finishedAt: z.string().nullable(),
  /** The last file that was checked. */
  position: z.object({ key: z.string(), path: z.string() }).nullable(),
  checkedBytes: z.number(),
  wrong: z.array(z.object({ key: z.string(), path: z.string(), what: z.string() })),
});
type ScrubState = z.output<typeof stateSchema>;

const LEASE = "scrub";
/** Between two looks whether it is time, or whether the worker that does it is gone. */
const LOOK_MS = 60_000;
/** Between two notes of how far it is. */
const NOTE_MS = 5_000;

export interface ScrubOptions {
  layout: Layout;
  /** Milliseconds from the start of a round to the next. */
  intervalMs: number;
  /** Opened for a round, and closed after it. */
  openLanes: () => Lanes;
  signal: AbortSignal;
  onStatus: (status: ScrubStatus) => void;
  onChecked: (bytes: number) => void;
  onWrong: (model: StoredModel, path: string, what: string) => void;
  lookMs?: number;
}

/** Checks every file on the volume, again and again, for as long as the signal lets it; one process at a time on a volume. */
export async function keepScrubbed(options: ScrubOptions): Promise<void> {
  const { layout, intervalMs, signal, lookMs = LOOK_MS } = options;
  while (!signal.aborted) {
    const state = await readState(layout);
    if (state) options.onStatus(toStatus(state, false));
    const isDue = state?.finishedAt == null || Date.now() - Date.parse(state.startedAt) >= intervalMs;
    if (isDue) {
      const lease = await tryLease(layout.lease(LEASE), { what: LEASE, signal }).catch(() => null);
      try {
        if (lease) await scrubOnce({ ...options, signal: AbortSignal.any([signal, lease.lost]) });
      } catch {
        // Ended, or the volume failed: the next look goes on where this was.
      } finally {
        await lease?.release();
      }
    }
    await sleep(lookMs, undefined, { signal }).catch(() => undefined);
  }
}

/** One round, from where the last one was broken off. */
async function scrubOnce(options: ScrubOptions): Promise<void> {
  const { layout, signal, onStatus, onWrong, onChecked, intervalMs } = options;
  const before = await readState(layout);
  const isOver = before?.finishedAt != null;
  // Under the lease: another may just have done it.
  if (before && isOver && Date.now() - Date.parse(before.startedAt) < intervalMs) return;
  const state: ScrubState = before && !isOver ? before : newRound();
  await using stack = new AsyncDisposableStack();
  const lanes = stack.adopt(options.openLanes(), (opened) => opened.close());
  const known = new Map<string, Promise<string | null>>();
  let notedAt = performance.now();
  for (const model of (await listManifests(layout)).toSorted((a, b) => (a.key < b.key ? -1 : 1))) {
    for (const file of rest(model, state.position)) {
      const [wrong] = await checkFiles(model, [file], { layout, lanes, signal, known });
      signal.throwIfAborted();
      // One that was removed or written anew meanwhile is looked at in the next round.
      if (wrong && (await isStillRecorded(layout, model)) && !(await isChanging(model, [wrong], layout))) {
        state.wrong.push({ key: model.key, path: file.path, what: wrong.what });
        onWrong(model, file.path, wrong.what);
      }
      state.position = { key: model.key, path: file.path };
      state.checkedBytes += file.size;
      onChecked(file.size);
      onStatus(toStatus(state, true));
      if (performance.now() - notedAt < NOTE_MS) continue;
      notedAt = performance.now();
      await writeState(layout, state);
    }
  }
  state.finishedAt = new Date().toISOString();
  await writeState(layout, state);
  onStatus(toStatus(state, false));
}

/** Files of a model that come after the position; all of them where it stands elsewhere. */
function rest({ key, files }: StoredModel, position: ScrubState["position"]): FileSpec[] {
  if (position === null || key > position.key) return files;
  return key < position.key ? [] : files.slice(files.findIndex(({ path }) => path === position.path) + 1);
}

async function isStillRecorded(layout: Layout, { key, revision }: StoredModel): Promise<boolean> {
  return (await listManifests(layout)).some((model) => model.key === key && model.revision === revision);
}

function newRound(): ScrubState {
  const startedAt = new Date().toISOString();
  return { formatVersion: 1, startedAt, finishedAt: null, position: null, checkedBytes: 0, wrong: [] };
}

function toStatus({ startedAt, finishedAt, checkedBytes, wrong }: ScrubState, isRunning: boolean): ScrubStatus {
  return { startedAt, finishedAt, checkedBytes, wrongFiles: wrong.length, isRunning };
}

async function readState(layout: Layout): Promise<ScrubState | null> {
  try {
    return stateSchema.parse(JSON.parse(await readFile(layout.scrub, "utf8")));
  } catch {
    return null;
  }
}

/** Only how far it is: what cannot be written is checked again. */
async function writeState(layout: Layout, state: ScrubState): Promise<void> {
  await writeFileDurably(layout.scrub, JSON.stringify(state)).catch(() => undefined);
}
