import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** Names under which lists of sha256 digests lie beside files. */
const NAMES = ["SHA256SUMS", "SHA256SUMS.txt", "sha256sums.txt", "checksums.txt", "checksums.sha256"];

export function isChecksumFile(path: string): boolean {
  return NAMES.includes(path);
}

/** What such lists of a folder say, by path. */
export async function readChecksums(folder: string): Promise<Map<string, string>> {
  const texts = await Promise.all(NAMES.map((name) => readFile(join(folder, name), "utf8").catch(() => "")));
  return new Map(texts.flatMap((text) => [...parseChecksums(text)]));
}

/** Lines as `sha256sum` writes them, with or without `*`, or as BSD's `sha256` and `--tag` do. Other lines are skipped. */
export function parseChecksums(text: string): Map<string, string> {
  const sums = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const [, plain, path] = /^([0-9a-f]{64}) [ *](.+)$/i.exec(line) ?? [];
    const [, tagged, sum] = /^SHA256 \((.+)\) = ([0-9a-f]{64})$/i.exec(line) ?? [];
    const name = (path ?? tagged)?.replace(/^\.\//, "");
    const digest = (plain ?? sum)?.toLowerCase();
    if (name && digest) sums.set(name, digest);
  }
  return sums;
}
