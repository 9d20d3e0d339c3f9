import {
  type BundledModel,
  type BundleManifest,
  bundleId,
  type Content,
  contentsOf,
  MANIFEST_MOST,
  MANIFEST_NAME,
  parseBundle,
  refused,
} from "./bundle-manifest.ts";
import { type ByteReader, readExactly } from "./byte-reader.ts";
import { cutShort, type TarEntry, TarReader } from "./tar-reader.ts";

const PIECE = 1 << 20;

/** A bundle that is read from. All throw BUNDLE_INVALID. */
export interface Bundle extends AsyncDisposable {
  /** For people: which one. */
  name: string;
  /** Of all of it. */
  id: string;
  models: BundledModel[];
  /** Its bytes come by once: contents are had in their order only. */
  isStream: boolean;
  /** The bytes of a content from one on; null where they have come by, which a stream does once. */
  read(content: Content, from: number): Promise<AsyncIterable<Buffer> | null>;
  /** Reads what nobody asked for, where somebody is still sending it. */
  finish(): Promise<void>;
}

/** Reads the manifest; of a file that is not packed it also looks that all is there, before anything of it is used. */
export async function openTar(reader: ByteReader): Promise<Bundle> {
  const tar = new TarReader(reader);
  const { models, id } = await readManifest(reader, tar);
  const expected = new Map(contentsOf(models).map((content) => [content.name, content]));
  const seen = new Set<string>();
  const next = async (): Promise<TarEntry | null> => {
    const entry = await tar.entry();
    if (entry === null) {
      if (seen.size < expected.size)
        throw refused(reader.name, `it lacks ${expected.size - seen.size} of its contents`);
      return null;
    }
    const { name, size } = entry;
    if (seen.has(name) || name === MANIFEST_NAME) throw refused(reader.name, `${name} comes twice in it`);
    if (expected.get(name)?.size !== size)
      throw refused(reader.name, `${JSON.stringify(name)} in it is none of what its ${MANIFEST_NAME} lists`);
    seen.add(name);
    return entry;
  };
  const { seek } = reader;
  const common = {
    name: reader.name,
    id,
    models,
    isStream: !seek,
    [Symbol.asyncDispose]: () => reader[Symbol.asyncDispose](),
  };
  if (seek) {
    const starts = new Map<string, number>();
    for (let entry = await next(); entry; entry = await next()) starts.set(entry.name, entry.start);
    return {
      ...common,
      async read({ name, size }, from) {
        const start = starts.get(name);
        if (start === undefined) return null;
        seek(start + from);
        return bytesOf(reader, size - from);
      },
      finish: async () => undefined,
    };
  }
  return {
    ...common,
    async read({ name, size }, from) {
      if (seen.has(name)) return null;
      for (let entry = await next(); entry; entry = await next()) {
        if (entry.name !== name) continue;
        await reader.skip(from);
        return bytesOf(reader, size - from);
      }
      throw cutShort(reader.name);
    },
    async finish() {
      while (await next());
      while (await reader.read(PIECE));
    },
  };
}

async function readManifest(
  reader: ByteReader,
  tar: TarReader,
): Promise<Pick<BundleManifest, "models"> & { id: string }> {
  const first = await tar.entry();
  if (first?.name !== MANIFEST_NAME)
    throw refused(reader.name, `a bundle begins with ${MANIFEST_NAME}, and this does not`);
  if (first.size > MANIFEST_MOST) throw refused(reader.name, `its ${MANIFEST_NAME} is far too large`);
  const bytes = await readExactly(reader, first.size);
  if (bytes === null) throw cutShort(reader.name);
  const text = bytes.toString("utf8");
  return { ...parseBundle(text, reader.name), id: bundleId(text) };
}

async function* bytesOf(reader: ByteReader, size: number): AsyncGenerator<Buffer> {
  for (let left = size; left > 0; ) {
    const piece = await reader.read(Math.min(left, PIECE));
    if (piece === null) throw cutShort(reader.name);
    left -= piece.length;
    yield piece;
  }
}
