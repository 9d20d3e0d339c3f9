import type { JSONPath, ModificationOptions } from "jsonc-parser";
import type { WrittenModel } from "./propose-entry.ts";

/** Changes to the text of a catalog file that leave all else in it as it is: order, spaces, line ends. */

export type Edit = { path: JSONPath; value: unknown; insert?: boolean };

/** The text after the edits, one after the other. */
export async function editText(text: string, edits: readonly Edit[]): Promise<string> {
  const { applyEdits, modify } = await import("jsonc-parser");
  const formattingOptions = formatOf(text);
  return edits.reduce((before, { path, value, insert = false }) => {
    const options: ModificationOptions = { formattingOptions, isArrayInsertion: insert };
    return applyEdits(before, modify(before, path, value, options));
  }, text);
}

export function addModel(id: string, entry: WrittenModel): Edit {
  return { path: ["models", id], value: entry };
}

/** At the end of the worker type's models. */
export function addToType(type: string, id: string, { optional }: { optional: boolean }): Edit {
  const value = optional ? { model: id, optional } : id;
  return { path: ["workerTypes", type, "models", -1], value, insert: true };
}

/** Takes out the model at these places of the type's list, the last first. */
export function removeFromType(type: string, indices: readonly number[]): Edit[] {
  return indices
    .toSorted((a, b) => b - a)
    .map((index) => ({ path: ["workerTypes", type, "models", index], value: undefined }));
}

export function removeEntry(id: string): Edit {
  return { path: ["models", id], value: undefined };
}

/** As the file itself is written. */
function formatOf(text: string): ModificationOptions["formattingOptions"] {
  const [, indent = "  "] = /\n([ \t]+)\S/.exec(text) ?? [];
  const insertSpaces = !indent.startsWith("\t");
  return { insertSpaces, tabSize: insertSpaces ? indent.length : 1, eol: text.includes("\r\n") ? "\r\n" : "\n" };
}
