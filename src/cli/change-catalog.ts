import { access, constants, readFile, realpath, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { BUILT_IN_CATALOG, type Config } from "../config.ts";
import { hasSystemCode, MusterError } from "../errors.ts";
import { type CatalogFile, checkReferences, parseCatalogFile, readCatalogFiles } from "../select/catalog-file.ts";
import { catalogSchema, overlaySchema } from "../select/catalog-schema.ts";
import { type Edit, editText } from "../select/edit-catalog.ts";
import { acquireLease } from "../store/lease.ts";
import { replaceFile } from "../store/write-durably.ts";

/** The catalog's files, and which of them a command changes: the overlay where there is one, else the catalog itself. */
export interface OpenedCatalog {
  files: CatalogFile[];
  own: CatalogFile;
}

export async function openFiles({ catalogFile, catalogOverlay }: Config): Promise<OpenedCatalog> {
  const files = await readCatalogFiles(catalogFile, catalogOverlay);
  return { files, own: files.at(-1)! };
}

/** Throws CATALOG_READ_ONLY for the file that comes with muster. */
export function refuseBuiltIn({ file }: CatalogFile): void {
  if (file !== BUILT_IN_CATALOG) return;
  throw new MusterError("CATALOG_READ_ONLY", `${file} comes with muster, and goes with the next version of it.`, {
    hint: "Begin an overlay, `echo '{}' > /models/overlay.json`, and set WORKER_TYPES_OVERLAY=/models/overlay.json, here and for the workers; or copy the file and set WORKER_TYPES_FILE.",
  });
}

/**
 * Changes one of the catalog's files: whole, or not at all, and only to what is right; two that do so at once wait for each
 * other. `edits`: made for the files as they are then. Throws CATALOG_READ_ONLY and CATALOG_INVALID.
 */
export async function changeCatalog(
  config: Config,
  file: string,
  edits: (files: OpenedCatalog) => readonly Edit[],
  signal?: AbortSignal,
): Promise<void> {
  // A link leads to the file that is meant, and stays.
  const target = await realpath(file);
  const lock = join(dirname(target), `.${basename(target)}.lease`);
  try {
    // A rename would not ask.
    await access(target, constants.W_OK);
    const lease = await acquireLease(lock, { what: file, signal });
    try {
      const opened = await openFiles(config);
      const before = await readFile(target, "utf8");
      const text = await editText(before.replace(/^\uFEFF/, ""), edits(opened));
      await checkText(opened, file, text);
      await replaceFile(target, before.startsWith("\uFEFF") ? `\uFEFF${text}` : text);
    } finally {
      await lease.release();
      await rm(lock, { recursive: true, force: true });
    }
  } catch (error) {
    throw readOnly(error, file);
  }
}

async function checkText({ files }: OpenedCatalog, file: string, text: string): Promise<void> {
  const schema = files[0]?.file === file ? catalogSchema : overlaySchema;
  const changed = await parseCatalogFile(file, text, schema);
  await checkReferences(files.map((each) => (each.file === file ? changed : each)));
}

function readOnly(error: unknown, file: string): unknown {
  if (hasSystemCode(error, "EBUSY")) {
    return new MusterError("CATALOG_READ_ONLY", `${file} is a mount of a single file, which cannot be replaced.`, {
      hint: "Mount its folder in place of the file, or change it on the host, where it is mounted from.",
      cause: error,
    });
  }
  if (!hasSystemCode(error, "EACCES", "EPERM", "EROFS")) return error;
  const why = error.code === "EROFS" ? "its file system is read-only" : "it, or its folder, may not be written";
  return new MusterError("CATALOG_READ_ONLY", `${file} cannot be changed: ${why}.`, {
    hint: "Change it where it comes from (a ConfigMap, the host's folder), or set WORKER_TYPES_OVERLAY to a file that can be written; without --write the entry is only printed.",
    cause: error,
  });
}
