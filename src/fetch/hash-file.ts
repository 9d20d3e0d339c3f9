import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import type { Digest } from "../model.ts";

/** A digest of that kind over so many bytes; git names content by type and length before the bytes. */
export function startHash(algorithm: Digest["algorithm"], size: number): Hash {
  return algorithm === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
}

/** The sha256 of a file's content, hex. Each MiB is a turn of its own, so that nothing else waits for long. */
export async function sha256OfFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, signal })) hash.update(chunk);
  return hash.digest("hex");
}

/** A name for content that has none of its own: sha256 over the sorted list of its files. */
export function contentRevision(files: readonly { path: string; size: number; digest: Digest }[]): string {
  const lines = files.map(({ path, size, digest }) => `${path}\0${size}\0${digest.hex}\n`).toSorted();
  return createHash("sha256").update(lines.join("")).digest("hex");
}
