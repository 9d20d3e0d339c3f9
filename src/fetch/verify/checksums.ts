import { readFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import type { StoredModel } from "../../model.ts";
import { writeFileDurably } from "../../store/write-durably.ts";
import { type CheckContext, digestAt, realRoots, resolveInside } from "./check-model.ts";

/** checksums.txt, as `sha256sum -c` reads it beside the folders of models: a line a file, paths relative to where it stands. */

export interface ChecksumLine {
  sha256: string;
  /** Relative to the list, or absolute. */
  path: string;
}

/** A name with a backslash or a line break is told with escapes, and its line begins with a backslash. */
export function showChecksums(lines: readonly ChecksumLine[]): string {
  return lines
    .map(({ sha256, path }) => {
      const escaped = path.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\r", "\\r");
      return `${escaped === path ? "" : "\\"}${sha256}  ${escaped}\n`;
    })
    .join("");
}

/** Lines of any other form are left out. */
export function readChecksumLines(text: string): ChecksumLine[] {
  return text.split("\n").flatMap((line) => {
    const [, escaped, sha256, path] = /^(\\?)([0-9a-f]{64}) [ *](.+)$/i.exec(line.replace(/\r$/, "")) ?? [];
    if (sha256 === undefined || path === undefined) return [];
    const plain = path.replace(/\\(.)/g, (_, letter) => ({ n: "\n", r: "\r" })[letter as string] ?? letter);
    return [{ sha256: sha256.toLowerCase(), path: escaped ? plain : path }];
  });
}

/** What of the files listed there is not as listed. Null where there is no such list. */
export async function checkList(
  list: string,
  context: CheckContext,
): Promise<{ files: number; wrong: ListedWrong[] } | null> {
  const text = await readFile(list, "utf8").catch(() => null);
  if (text === null) return null;
  const lines = readChecksumLines(text);
  const roots = await realRoots(context.layout);
  const wrong: ListedWrong[] = [];
  for (const { path, sha256 } of lines) {
    const seen = await resolveInside(resolve(dirname(list), path), roots);
    if (typeof seen === "string") {
      wrong.push({ path, what: seen });
      continue;
    }
    const found = await digestAt(seen, "sha256", context);
    if (found !== sha256) wrong.push({ path, what: found === null ? "cannot be read" : "wrong content" });
  }
  return { files: lines.length, wrong };
}

export interface ListedWrong {
  path: string;
  what: string;
}

/** Writes the list anew with the files of these models; lines of others whose files are in a record stay. Gives its length. */
export async function writeChecksums(
  list: string,
  { checked, others }: { checked: readonly StoredModel[]; others: readonly StoredModel[] },
  context: CheckContext,
): Promise<number> {
  const lines = new Map<string, string>();
  const nameOf = (path: string) => {
    const name = relative(dirname(list), path);
    return name.startsWith("..") ? path : name;
  };
  const kept = new Set(others.flatMap(({ path, files }) => files.map((file) => nameOf(join(path, file.path)))));
  const before = await readFile(list, "utf8").catch(() => "");
  for (const { path, sha256 } of readChecksumLines(before)) if (kept.has(path)) lines.set(path, sha256);
  const roots = await realRoots(context.layout);
  for (const { path: folder, files } of checked) {
    for (const { path, digest } of files) {
      const full = join(folder, path);
      // Small files of a hub are known by git's digest.
      const seen = digest.algorithm === "sha256" ? null : await resolveInside(full, roots);
      const sha256 =
        seen === null ? digest.hex : typeof seen === "string" ? null : await digestAt(seen, "sha256", context);
      if (sha256 !== null) lines.set(nameOf(full), sha256);
    }
  }
  const sorted = [...lines].map(([path, sha256]) => ({ path, sha256 })).toSorted((a, b) => (a.path < b.path ? -1 : 1));
  await writeFileDurably(list, showChecksums(sorted));
  return sorted.length;
}
