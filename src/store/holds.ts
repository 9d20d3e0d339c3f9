import { open, readdir, readFile, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, join } from "node:path";
import * as z from "zod";
import { hasSystemCode } from "../errors.ts";
import { isProcessGone, isProcessRunning, ownProcess, processIdentity } from "../process-identity.ts";
import { UseMarks } from "./last-use.ts";
import type { Layout } from "./layout.ts";
import { volumeNow } from "./volume-clock.ts";
import { writeFileDurably } from "./write-durably.ts";

/**
 * What running workers need, said on the volume itself, because another host may ask: a file a worker. On the same machine
 * a worker that is gone is known by its process; elsewhere by a file that was not written for a while, by the volume's clock.
 */

const holdSchema = z.object({
  formatVersion: z.literal(1),
  holder: z.object({
    host: z.string(),
    /** The worker's id, or the command. */
    name: z.string(),
    workerType: z.string().nullable(),
    /** RFC 3339, by the holder's clock; for people only. */
    since: z.string(),
  }),
  process: processIdentity,
  /** Records that it works with, and the leases under which these are written. */
  models: z.array(z.object({ key: z.string(), lease: z.string() })),
  /** Records that its worker type could also choose. */
  catalog: z.array(z.string()),
});
export type Hold = z.output<typeof holdSchema>;
/** `token`: what its file is called by. */
export type LiveHold = Hold & { token: string };
export type Holder = Hold["holder"];
export type HeldModels = Pick<Hold, "models" | "catalog">;

const BEAT_MS = 60_000;
/** A worker on another host that has not written for so long is gone. Much longer than a restart, or a volume that was away. */
const EXPIRY_MS = 600_000;

/** This process's hold, until it is disposed of. On a volume that cannot be written there is none, and nothing to remove either. */
export class OwnHold implements AsyncDisposable {
  readonly #path: string;
  readonly #hold: Hold;
  readonly #marks: UseMarks;
  readonly #timer: NodeJS.Timeout;
  #writing: Promise<void> = Promise.resolve();

  private constructor(path: string, hold: Hold, marks: UseMarks, beatMs: number) {
    this.#path = path;
    this.#hold = hold;
    this.#marks = marks;
    this.#timer = setInterval(() => this.#beat(), beatMs);
    this.#timer.unref();
  }

  /** Settles when the hold is on the volume: only then may its holder look whether the models are there. */
  static async take(
    layout: Layout,
    { name, workerType, ...held }: Pick<Holder, "name" | "workerType"> & HeldModels,
    { beatMs = BEAT_MS } = {},
  ): Promise<OwnHold> {
    const holder = { host: hostname(), name, workerType, since: new Date().toISOString() };
    const hold: Hold = { formatVersion: 1, holder, process: await ownProcess(), ...held };
    const own = new OwnHold(layout.hold(crypto.randomUUID()), hold, new UseMarks(layout), beatMs);
    await own.change(held);
    return own;
  }

  /** Holds these from now on. */
  change({ models, catalog }: HeldModels): Promise<void> {
    Object.assign(this.#hold, { models, catalog });
    return this.#do(async () => {
      await writeFileDurably(this.#path, JSON.stringify(this.#hold));
      await this.#markUses();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#do(() => rm(this.#path, { force: true }));
  }

  #beat(): void {
    void this.#do(async () => {
      const text = JSON.stringify(this.#hold);
      try {
        // The same bytes over those that are there: it needs no space, and the volume notes its own time.
        await using file = await open(this.#path, "r+");
        await file.write(text, 0);
      } catch (error) {
        if (!hasSystemCode(error, "ENOENT")) throw error;
        await writeFileDurably(this.#path, text);
      }
      await this.#markUses();
    });
  }

  /** One after the other; what fails is made up for by the next beat. */
  #do(work: () => Promise<void>): Promise<void> {
    this.#writing = this.#writing.then(work).catch(() => undefined);
    return this.#writing;
  }

  #markUses(): Promise<void> {
    return this.#marks.mark(this.#hold.models.map(({ key }) => key));
  }
}

export interface HoldFile {
  path: string;
  /** Null for a file that cannot be understood. */
  hold: Hold | null;
  isLive: boolean;
}

/** All holds, those of the dead too. One that cannot be understood counts as live until it is old: it may be a newer version's. */
export async function readHolds(layout: Layout, expiryMs = EXPIRY_MS): Promise<HoldFile[]> {
  const names = (await readdir(layout.holds).catch(() => [])).filter((name) => name.endsWith(".json"));
  if (names.length === 0) return [];
  const now = await volumeNow(layout);
  const holds = await Promise.all(
    names.map(async (name): Promise<HoldFile | null> => {
      const path = join(layout.holds, name);
      const found = await stat(path).catch(() => null);
      if (!found) return null;
      const hold = parse(await readFile(path, "utf8").catch(() => ""));
      const isFresh = now - found.mtimeMs <= expiryMs;
      return { path, hold, isLive: hold ? await isHolding(hold, isFresh) : isFresh };
    }),
  );
  return holds.filter((each) => each !== null);
}

/** Holds of workers that run. */
export async function liveHolds(layout: Layout): Promise<LiveHold[]> {
  return (await readHolds(layout)).flatMap(({ path, hold, isLive }) =>
    isLive && hold ? [{ ...hold, token: basename(path, ".json") }] : [],
  );
}

async function isHolding({ process }: Hold, isFresh: boolean): Promise<boolean> {
  if (await isProcessRunning(process)) return true;
  return isFresh && !(await isProcessGone(process));
}

function parse(text: string): Hold | null {
  try {
    return holdSchema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}
