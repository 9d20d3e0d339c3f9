import { createHash } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import * as z from "zod";
import { isProcessRunning, ownProcess, processIdentity } from "../../process-identity.ts";
import { writeFileDurably } from "../../store/write-durably.ts";

const noteSchema = z.object({
  formatVersion: z.literal(1),
  /** As the store names it. */
  uploadId: z.string().min(1),
  sha256: z.string(),
  size: z.number(),
  /** Bytes of a part. */
  length: z.number(),
  process: processIdentity,
});
export type UploadNote = Omit<z.output<typeof noteSchema>, "formatVersion" | "process">;

/**
 * Uploads that this worker has begun and not completed, in its private state directory: which of the unfinished uploads of
 * a bucket are abandoned, and of which content, the bucket does not tell. Only a convenience: nothing here fails.
 */
export class UploadNotes {
  readonly #folder: () => Promise<string>;

  constructor(stateFolder: () => Promise<string>) {
    this.#folder = stateFolder;
  }

  /** `place`: the object's full address. "busy" where another process of this worker is at it. */
  async find(place: string): Promise<UploadNote | "busy" | null> {
    try {
      const {
        formatVersion: _,
        process,
        ...note
      } = noteSchema.parse(JSON.parse(await readFile(await this.#path(place), "utf8")));
      return (await isProcessRunning(process)) ? "busy" : note;
    } catch {
      return null;
    }
  }

  /** False where it could not be written: nobody will go on with that upload. */
  async write(place: string, note: UploadNote): Promise<boolean> {
    try {
      const text = JSON.stringify({ formatVersion: 1, ...note, process: await ownProcess() });
      await writeFileDurably(await this.#path(place), text);
      return true;
    } catch {
      return false;
    }
  }

  /** With what a process left that was killed while it wrote the note. */
  async remove(place: string): Promise<void> {
    try {
      const path = await this.#path(place);
      const own = (await readdir(dirname(path))).filter((name) => name.startsWith(basename(path)));
      for (const name of own) await rm(join(dirname(path), name), { force: true });
    } catch {
      // Nobody misses it, and nobody is misled by one that stays.
    }
  }

  async #path(place: string): Promise<string> {
    return join(await this.#folder(), "uploads", `${createHash("sha256").update(place).digest("hex")}.json`);
  }
}
