import { readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { hasSystemCode } from "./errors.ts";
import { type ModelOptions, modelOptions } from "./frame-parts.ts";
import type { Logger } from "./log.ts";
import { writeFileDurably } from "./store/write-durably.ts";

/** A model as a coordinator asked for it. */
export interface AskedModel {
  reference: string;
  options: ModelOptions;
}

/** What a coordinator has changed of this worker's models, as it is on the disk: the agent that starts next goes on with it. */
export interface RememberedModels {
  readonly asked: readonly AskedModel[];
  /** Ids of optional models of the worker type that were removed. */
  readonly removed: readonly string[];
  /** Each settles once it is on the disk, or could not be written, which is warned of. */
  remember(model: AskedModel): Promise<void>;
  forget(reference: string): Promise<void>;
  /** Of a model of the worker type: whether it is one of those that were removed. */
  setRemoved(id: string, isRemoved: boolean): Promise<void>;
}

const contents = z.object({
  formatVersion: z.literal(1),
  asked: z.array(z.object({ reference: z.string(), options: modelOptions })),
  removed: z.array(z.string()),
});

/** `folder`: the worker's private one; null: for the life of the process only. A damaged file is put aside. */
export async function openRememberedModels(folder: string | null, log: Logger): Promise<RememberedModels> {
  const file = folder && join(folder, "run-time-models.json");
  let { asked, removed } = (file && (await read(file, log))) || { asked: [] as AskedModel[], removed: [] as string[] };
  let writing: Promise<void> = Promise.resolve();
  const write = () => {
    if (!file) return writing;
    writing = writing
      .then(() => writeFileDurably(file, `${JSON.stringify({ formatVersion: 1, asked, removed }, null, 2)}\n`))
      .catch((error: NodeJS.ErrnoException) => {
        log.warn(`${file} cannot be written (${error.code}); models asked for at run time would be lost by a restart`);
      });
    return writing;
  };
  return {
    get asked() {
      return asked;
    },
    get removed() {
      return removed;
    },
    remember(model) {
      asked = [...asked.filter(({ reference }) => reference !== model.reference), model];
      return write();
    },
    forget(reference) {
      asked = asked.filter((model) => model.reference !== reference);
      return write();
    },
    setRemoved(id, isRemoved) {
      removed = [...removed.filter((each) => each !== id), ...(isRemoved ? [id] : [])];
      return write();
    },
  };
}

async function read(file: string, log: Logger): Promise<z.output<typeof contents> | null> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if (!hasSystemCode(error, "ENOENT")) log.warn(`${file} cannot be read (${(error as NodeJS.ErrnoException).code})`);
    return null;
  }
  try {
    return contents.parse(JSON.parse(text));
  } catch {
    const aside = `${file}.damaged`;
    await rename(file, aside).catch(() => undefined);
    log.warn(
      `${file} is damaged and was put aside as ${aside}; models asked for at run time have to be asked for again`,
    );
    return null;
  }
}
