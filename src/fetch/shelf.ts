import type { AskOptions } from "./ask.ts";
import type { FileOrigin } from "./origin.ts";
import { PUBLISHED_NAME, type PublishedModel, parsePublished } from "./published-model.ts";

/** A bucket or a disk on which models stand as plain files. */
export interface Shelf {
  /** For logs and errors. */
  name: string;
  /** A small file as text, or null where there is none. Throws MusterError. */
  read(path: string, options: AskOptions): Promise<string | null>;
  /** Where a file's bytes are had. */
  locate(path: string, options: AskOptions): Promise<FileOrigin>;
}

/** The manifest of a folder of the shelf, or null where there is none. Throws MusterError. */
export async function readPublished(shelf: Shelf, folder: string, options: AskOptions): Promise<PublishedModel | null> {
  const path = folder === "" ? PUBLISHED_NAME : `${folder}/${PUBLISHED_NAME}`;
  const text = await shelf.read(path, options);
  return text === null ? null : parsePublished(text, `${shelf.name}/${path}`);
}
