import { Header } from "tar/header";
import { Pax } from "tar/pax";

/** The blocks of a tar file, in ustar; what does not fit there (a file from 8 GiB on) has a pax header before its own. */

export const BLOCK = 512;
/** Two empty blocks. */
export const END = Buffer.alloc(2 * BLOCK);

/** What fills the last block of so many bytes. */
export function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

/** The blocks before an entry's content; always the same for the same entry. */
export function entryHeader({ name, size, mtime }: { name: string; size: number; mtime: Date }): Buffer {
  const header = new Header({ path: name, size, mtime, mode: 0o644, uid: 0, gid: 0, type: "File" });
  const block = Buffer.alloc(BLOCK);
  if (!header.encode(block)) return block;
  return Buffer.concat([new Pax({ path: name, size }).encode(), block]);
}

/** What a header block says. `type` is the library's word for it. */
export interface EntryHead {
  type: string;
  name: string;
  size: number;
}

/** Of a pax header that came before: what it says of the next entry. */
export type PaxFields = Pick<Pax, "path" | "size">;

export function parsePax(body: Buffer): PaxFields {
  const { path, size } = Pax.parse(body.toString("utf8"));
  return { path, size };
}

/** "end" for an empty block, null for one that is none. */
export function parseHead(block: Buffer, pax: PaxFields | null): EntryHead | "end" | null {
  try {
    const header = new Header(block, 0, pax ?? undefined);
    if (header.nullBlock) return "end";
    if (!header.cksumValid || header.size === undefined || !Number.isSafeInteger(header.size)) return null;
    return { type: String(header.type), name: header.path ?? "", size: header.size };
  } catch {
    // A number that no size can be.
    return null;
  }
}
