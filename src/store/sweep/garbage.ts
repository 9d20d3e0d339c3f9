import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { StoredModel } from "../../model.ts";
import { bytesOf, inodesBelow } from "../disk-usage.ts";
import type { Layout } from "../layout.ts";
import { type Lease, tryLease } from "../lease.ts";
import type { LeaseNames } from "./lease-names.ts";

/** What processes that are gone have left on the volume. Models of other tools are theirs, and are none of it. */
export interface Garbage {
  kind: "removal" | "hold" | "lease" | "temporary" | "partials" | "orphans";
  path: string;
  /** What the disk gets back. */
  bytes: number;
  /** False where somebody has come to need it since it was found. Throws as the system does, or the reason of the signal. */
  remove(signal: AbortSignal): Promise<boolean>;
}

export interface GarbageAges {
  /** Milliseconds. Younger temporary files belong to somebody who is about to name them. */
  temporary: number;
  /** Milliseconds. Younger leases, unfinished files and nameless blobs may be gone on with. */
  abandoned: number;
}

/** What all who look for garbage know. */
export interface Look {
  layout: Layout;
  /** By the volume's own clock, milliseconds as Date.now. */
  now: number;
  ages: GarbageAges;
  records: StoredModel[];
  leases: LeaseNames;
  /** Names of the leases of models that running workers need. */
  held: ReadonlySet<string>;
  /** Records that they need of Ollama's models. */
  heldKeys: ReadonlySet<string>;
}

/** Does the work with all these leases had; false, and nothing done, where one of them is another's. */
export async function withLeases(
  folders: readonly string[],
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<boolean> {
  const leases: Lease[] = [];
  try {
    for (const folder of folders) {
      const lease = await tryLease(folder, { what: "muster prune", signal });
      if (!lease) return false;
      leases.push(lease);
    }
    await work(AbortSignal.any([signal, ...leases.map(({ lost }) => lost)]));
    return true;
  } finally {
    for (const lease of leases) await lease.release();
  }
}

/** When something in there was written last; what is not there any more is new. Links are not followed. */
export async function newest(path: string): Promise<number> {
  const found = await lstat(path).catch(() => null);
  if (!found) return Number.POSITIVE_INFINITY;
  if (!found.isDirectory()) return found.mtimeMs;
  const inside = await Promise.all((await entriesOf(path)).map(newest));
  return Math.max(found.mtimeMs, ...inside.filter(Number.isFinite));
}

/** Of a file, or of all below a folder. */
export async function bytesAt(path: string): Promise<number> {
  const found = await lstat(path).catch(() => null);
  if (!found) return 0;
  return found.isDirectory() ? bytesOf(await inodesBelow(path)) : found.blocks * 512;
}

export async function entriesOf(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(() => [])).map((name) => join(folder, name));
}
