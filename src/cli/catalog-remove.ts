import { EXIT, MusterError } from "../errors.ts";
import { mergedEntries } from "../select/catalog-file.ts";
import { type Edit, removeEntry, removeFromType } from "../select/edit-catalog.ts";
import { changeCatalog, type OpenedCatalog, openFiles, refuseBuiltIn } from "./change-catalog.ts";
import { confirm } from "./confirm.ts";
import { print } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";

export interface CatalogRemoveOptions extends GlobalOptions {
  /** Only out of these worker types. */
  type?: string[];
  dryRun?: boolean;
  yes?: boolean;
}

/** `muster catalog remove ID`: takes a model out of the catalog and its worker types; nothing on the volume changes. */
export async function catalogRemove(id: string, options: CatalogRemoveOptions): Promise<number> {
  const { config } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const opened = await openFiles(config);
  const { type: types, dryRun = false } = options;
  const own = fileWith(id, types, opened);
  const planned = places(id, types, { ...opened, own });
  const where = planned.types.map(({ type }) => type);
  const what = types ? `out of ${where.join(", ")}` : `out of ${[own.file, ...where].join(", ")}`;
  if (!dryRun) {
    refuseBuiltIn(own);
    if (!(await confirm(`Take ${id} ${what}?`, options))) return EXIT.ok;
    const edits = (now: OpenedCatalog) => {
      const same = now.files.find(({ file }) => file === own.file) ?? own;
      return places(id, types, { ...now, own: same }).edits;
    };
    await changeCatalog(config, own.file, edits);
  }
  // The file after the first shows what the first has, once nothing there says otherwise.
  const shadowed = !types && opened.files.find((other) => other !== own && Object.hasOwn(other.value.models ?? {}, id));
  const data = { id, file: own.file, workerTypes: where, removed: !dryRun, dryRun };
  print(data, options, () =>
    [
      `${dryRun ? "Would take" : "Took"} ${id} ${what}`,
      ...(shadowed ? [`${shadowed.file} has a model of that name, too, which counts now`] : []),
    ].join("\n"),
  );
  return EXIT.ok;
}

/** The file that has what is to be removed, the overlay first. */
function fileWith(id: string, types: string[] | undefined, { files }: OpenedCatalog) {
  const has = ({ value }: (typeof files)[number]) =>
    types
      ? types.every((type) => value.workerTypes?.[type]?.models.some((reference) => nameOf(reference) === id))
      : Object.hasOwn(value.models ?? {}, id);
  const found = files.findLast(has);
  if (found) return found;
  const { models, workerTypes } = mergedEntries(files);
  const owners = Object.entries(workerTypes).filter(([, type]) => type.models.some((each) => nameOf(each) === id));
  const hint = types
    ? `It is in ${owners.map(([type]) => type).join(", ") || "none"}.`
    : `\`muster catalog show\` shows what it has: ${Object.keys(models).join(", ")}.`;
  const message = types ? `${id} is not in ${types.join(" and ")}.` : `The catalog has no model ${JSON.stringify(id)}.`;
  throw new MusterError("MODEL_UNKNOWN", message, { hint });
}

/** Where the model stands in its file, and the edits that take it out. Throws USAGE where a worker type would be left with none. */
function places(id: string, wanted: string[] | undefined, { own }: Pick<OpenedCatalog, "own">) {
  const types = Object.entries(own.value.workerTypes ?? {}).flatMap(([type, { models }]) => {
    const indices = models.flatMap((reference, index) => (nameOf(reference) === id ? [index] : []));
    if (indices.length === 0 || (wanted && !wanted.includes(type))) return [];
    if (indices.length === models.length) throw lastOne(id, type);
    return [{ type, indices }];
  });
  const edits: Edit[] = types.flatMap(({ type, indices }) => removeFromType(type, indices));
  return { types, edits: wanted ? edits : [...edits, removeEntry(id)] };
}

function lastOne(id: string, type: string): MusterError {
  return new MusterError("USAGE", `${id} is the only model of worker type ${type}, which has to have one.`, {
    hint: `Give it another first, \`muster catalog add REF --type ${type} --write\`, or remove the worker type from the file.`,
  });
}

function nameOf(reference: string | { model: string }): string {
  return typeof reference === "string" ? reference : reference.model;
}
