import { readFile, rm, rmdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { readHolds } from "../holds.ts";
import type { Layout } from "../layout.ts";
import { removeLease } from "../lease.ts";
import { highestNumber, numberedFile } from "../numbered-files.ts";
import { entriesOf, type Garbage, type Look, newest } from "./garbage.ts";

/** What workers held that run no more. */
export async function deadHolds({ layout }: Look): Promise<Garbage[]> {
  const dead = (await readHolds(layout)).filter(({ isLive }) => !isLive);
  return dead.map(({ path }) => ({
    kind: "hold",
    path,
    bytes: 0,
    async remove() {
      // One that was only away writes it again with its next beat.
      const isStillDead = (await readHolds(layout)).some((hold) => hold.path === path && !hold.isLive);
      if (isStillDead) await rm(path, { force: true });
      return isStillDead;
    },
  }));
}

/** Leases that nobody has taken or renewed for long. */
export async function oldLeases({ layout, now, ages }: Look): Promise<Garbage[]> {
  const isOld = async (path: string) => now - (await newest(path)) > ages.abandoned;
  const models = (await entriesOf(layout.leases)).map(async (path): Promise<Garbage | null> => {
    const remove = (signal: AbortSignal) => removeLease(path, { what: "muster prune", signal });
    return (await isOld(path)) ? { kind: "lease", path, bytes: 0, remove } : null;
  });
  const contents = (await entriesOf(layout.contentLeases)).map(async (path): Promise<Garbage | null> => {
    // It is as good as the lease that it names, and as old.
    const renewedAt = await modelLeaseTime(layout, path);
    if (!(await isOld(path)) || now - renewedAt <= ages.abandoned) return null;
    return { kind: "lease", path, bytes: 0, remove: () => removeContentLease(path) };
  });
  return (await Promise.all([...models, ...contents])).filter((each) => each !== null);
}

async function modelLeaseTime(layout: Layout, folder: string): Promise<number> {
  try {
    const text = await readFile(numberedFile(folder, await highestNumber(folder)), "utf8");
    const { lease } = JSON.parse(text) as { lease: { name: string; number: number } };
    return (await stat(numberedFile(layout.lease(lease.name), lease.number))).mtimeMs;
  } catch {
    return 0;
  }
}

async function removeContentLease(folder: string): Promise<boolean> {
  const number = await highestNumber(folder).catch(() => 0);
  if (number > 0) await rm(numberedFile(folder, number), { force: true });
  // Where somebody has taken the next number meanwhile, that stays.
  await rmdir(folder).catch(() => undefined);
  return true;
}

/** Marks of use of models that are gone. */
export async function oldMarks({ layout, now, ages, records }: Look): Promise<Garbage[]> {
  const known = new Set(records.map(({ key }) => layout.used(key)));
  const folder = join(layout.used("any"), "..");
  const marks = (await entriesOf(folder)).filter((path) => !known.has(path));
  const old = await Promise.all(marks.map(async (path) => now - (await newest(path)) > ages.abandoned));
  return marks
    .filter((_, index) => old[index])
    .map((path) => ({ kind: "temporary", path, bytes: 0, remove: () => rm(path, { force: true }).then(() => true) }));
}
