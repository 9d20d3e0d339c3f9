import { MusterError } from "../../errors.ts";
import { refused } from "./bundle-manifest.ts";
import { type ByteReader, readExactly } from "./byte-reader.ts";
import { BLOCK, type EntryHead, type PaxFields, padding, parseHead, parsePax } from "./tar-blocks.ts";

/** Bytes; nothing that a bundle has needs more. */
const PAX_MOST = 64 << 10;

export interface TarEntry {
  name: string;
  size: number;
  /** Where its content begins. */
  start: number;
}

/** The regular files of a tar, one after the other. Anything else but their folders is refused: links, devices, sparse files. */
export class TarReader {
  readonly #reader: ByteReader;
  /** Of the next header. */
  #next = 0;
  #isAtEnd = false;

  constructor(reader: ByteReader) {
    this.#reader = reader;
  }

  /** The next file, the reader standing at its content, however much of the one before was read; null at the tar's end. Throws BUNDLE_INVALID. */
  async entry(): Promise<TarEntry | null> {
    const reader = this.#reader;
    let pax: PaxFields | null = null;
    while (!this.#isAtEnd) {
      await reader.skip(this.#next - reader.position);
      const head = await this.#head(pax);
      if (head === "end") break;
      const start = reader.position;
      this.#next = start + head.size + padding(head.size);
      if (!Number.isSafeInteger(this.#next)) throw refused(reader.name, "an entry has no true size");
      if (reader.size !== null && this.#next > reader.size) throw cutShort(reader.name);
      if (head.type === "ExtendedHeader" || head.type === "GlobalExtendedHeader") {
        if (head.size > PAX_MOST) throw refused(reader.name, "a header of it is far too large");
        const body = await readExactly(reader, head.size);
        if (body === null) throw cutShort(reader.name);
        if (head.type === "ExtendedHeader") pax = parsePax(body);
        continue;
      }
      pax = null;
      const name = head.name.replace(/^(\.\/)+/, "");
      // As they come where somebody has packed an unpacked bundle again.
      if (head.type === "Directory" && /^(blobs)?\/?$/.test(name)) continue;
      if (head.type !== "File" && head.type !== "OldFile")
        throw refused(reader.name, `${JSON.stringify(head.name)} in it is no file but a ${head.type}`);
      return { name, size: head.size, start };
    }
    this.#isAtEnd = true;
    return null;
  }

  async #head(pax: PaxFields | null): Promise<EntryHead | "end"> {
    const { name, position } = this.#reader;
    const block = await readExactly(this.#reader, BLOCK);
    if (block === null) throw position === 0 ? refused(name, "it is empty") : cutShort(name);
    const head = parseHead(block, pax);
    if (head !== null) return head;
    if (position === 0) throw refused(name, whatElse(block));
    throw refused(name, `it is damaged at byte ${position}`);
  }
}

export function cutShort(name: string): MusterError {
  return new MusterError("BUNDLE_INVALID", `${name} ends before all of it is there.`, {
    hint: "Copy it here once more, with all of its parts; what was placed stays, and the next `muster import` goes on from there.",
  });
}

function whatElse(block: Buffer): string {
  const begins = (hex: string) => block.toString("hex").startsWith(hex);
  const packer = begins("1f8b") ? "gzip" : begins("fd377a58") ? "xz" : begins("425a68") ? "bzip2" : null;
  return packer ? `it is packed by ${packer}; \`${packer} -dc FILE | muster import -\` reads it` : "it is no tar file";
}
