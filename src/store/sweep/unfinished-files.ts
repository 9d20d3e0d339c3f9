import { readdir, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { removeEmpty } from "../remove-folders.ts";
import { bytesAt, entriesOf, type Garbage, type Look, newest, withLeases } from "./garbage.ts";

const UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
/** As files are called that are written to get another name. */
const TEMPORARY = new RegExp(`\\.${UUID}(\\.tmp)?$`);
/** As snapshots and folders are that are put together, or hidden to be removed. */
const STAGED = new RegExp(`^${UUID}`);

/** In the volume's own folder, and trials of `muster doctor` beside it. */
export async function ownTemporaries(look: Look): Promise<Garbage[]> {
  const { own } = look.layout;
  const trials = (await entriesOf(dirname(own))).filter((path) => basename(path).startsWith(".muster-doctor-"));
  return temporaries([...(await filesNamed(own, TEMPORARY)), ...trials], look);
}

/** Of the hub cache's repositories. */
export async function hubLeftovers(look: Look): Promise<Garbage[]> {
  const repos = (await entriesOf(look.layout.hub.root)).filter((path) => basename(path).startsWith("models--"));
  return leftoversOf(
    repos.map((folder) => join(folder, ".muster")),
    look,
  );
}

export async function ollamaLeftovers(look: Look): Promise<Garbage[]> {
  const ingests = dirname(look.layout.ollama.ingest("any"));
  const unfinished = await Promise.all((await entriesOf(ingests)).map((path) => partials(path, look)));
  return [...unfinished.flat(), ...(await staged(dirname(ingests), look))];
}

/** Of models as plain folders, with copies that were being made inside a model. */
export async function folderLeftovers(look: Look): Promise<Garbage[]> {
  const { folders } = look.layout;
  const own = dirname(dirname(folders.ingest("path", "any")));
  const recorded = new Set(look.records.flatMap(({ path, files }) => files.map((file) => join(path, file.path))));
  const copies = (await filesNamed(folders.root, TEMPORARY)).filter(
    (path) => !recorded.has(path) && !path.startsWith(`${own}/`),
  );
  const models = await entriesOf(own);
  // Files that were finished of a model that was not: nobody but its next fetch would have them.
  const finished = models.map((folder) => partials(join(folder, "staged"), look, join(folder, "ingest")));
  const copied = await temporaries(copies, look);
  return [...(await leftoversOf(models, look)), ...(await Promise.all(finished)).flat(), ...copied];
}

async function leftoversOf(folders: readonly string[], look: Look): Promise<Garbage[]> {
  const found = await Promise.all(
    folders.map(async (folder) => [...(await partials(join(folder, "ingest"), look)), ...(await staged(folder, look))]),
  );
  return found.flat();
}

/** What nobody has written to for long of an unfinished model, which `ingest` names, that no running worker needs. */
async function partials(
  folder: string,
  { layout, now, ages, leases, held }: Look,
  ingest: string = folder,
): Promise<Garbage[]> {
  const isOld = async () => (await entriesOf(folder)).length > 0 && now - (await newest(folder)) > ages.abandoned;
  const name = leases.of(ingest);
  if (!(await isOld()) || (name !== null && held.has(name))) return [];
  const remove = async (signal: AbortSignal) => {
    let isGone = false;
    // Where no lease is known of it nobody has begun anything there since leases were last tidied up.
    const isOurs = await withLeases(name === null ? [] : [layout.lease(name)], signal, async () => {
      isGone = await isOld();
      if (!isGone) return;
      await rm(folder, { recursive: true, force: true });
      await removeEmpty(dirname(folder));
    });
    return isOurs && isGone;
  };
  return [{ kind: "partials", path: folder, bytes: await bytesAt(folder), remove }];
}

async function staged(folder: string, look: Look): Promise<Garbage[]> {
  return temporaries(
    (await entriesOf(folder)).filter((path) => STAGED.test(basename(path))),
    look,
  );
}

async function temporaries(paths: readonly string[], { now, ages }: Look): Promise<Garbage[]> {
  const found = await Promise.all(
    paths.map(async (path): Promise<Garbage | null> => {
      if (now - (await newest(path)) <= ages.temporary) return null;
      const remove = () => rm(path, { recursive: true, force: true }).then(() => true);
      return { kind: "temporary", path, bytes: await bytesAt(path), remove };
    }),
  );
  return found.filter((each) => each !== null);
}

async function filesNamed(folder: string, pattern: RegExp): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile() && pattern.test(entry.name))
    .map(({ parentPath, name }) => join(parentPath, name));
}
