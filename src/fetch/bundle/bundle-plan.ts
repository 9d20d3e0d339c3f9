import { stat } from "node:fs/promises";
import { join } from "node:path";
import { MusterError } from "../../errors.ts";
import type { FileSpec, StoredModel } from "../../model.ts";
import { CheckedFile } from "../push/checked-file.ts";
import { bundled, bundleId, contentName, contentsOf, MANIFEST_NAME, showBundle } from "./bundle-manifest.ts";
import { END, entryHeader, padding } from "./tar-blocks.ts";

const PIECE = 1 << 20;

/** What a bundle will be, byte by byte, known before the first one is written: so that writing can go on anywhere. */
export interface BundlePlan {
  /** Of the manifest. */
  text: string;
  id: string;
  models: readonly StoredModel[];
  contents: PlannedContent[];
  /** Of the contents together. */
  contentBytes: number;
  /** Of the tar. */
  bytes: number;
}

export interface PlannedContent {
  name: string;
  /** As a record has it. */
  file: FileSpec;
  /** Where the volume has it. */
  path: string;
  /** Where it stands in the tar: its headers, its content, what follows. */
  start: number;
  header: Buffer;
  end: number;
}

export function planBundle(models: readonly StoredModel[]): BundlePlan {
  const described = models.map(bundled);
  const text = showBundle(described);
  const paths = new Map<string, { path: string; file: FileSpec }>();
  for (const [index, { files }] of described.entries()) {
    for (const file of files) {
      const found = { path: join(models[index]?.path ?? "", file.path), file };
      if (!paths.has(contentName(file))) paths.set(contentName(file), found);
    }
  }
  const mtime = newest(models);
  const length = Buffer.byteLength(text);
  let position = entryHeader({ name: MANIFEST_NAME, size: length, mtime }).length + length + padding(length);
  const contents = contentsOf(described).map(({ name, size }): PlannedContent => {
    const header = entryHeader({ name, size, mtime });
    const start = position;
    position += header.length + size + padding(size);
    return { name, ...paths.get(name)!, start, header, end: position };
  });
  const contentBytes = contents.reduce((sum, { file }) => sum + file.size, 0);
  return { text, id: bundleId(text), models, contents, contentBytes, bytes: position + END.length };
}

export interface BundlePiece {
  bytes: Buffer;
  /** It is of a content, and not what stands between two. */
  isContent: boolean;
  /** The file of the disk that it belongs to, see {@link fileIdentity}; null for the manifest and the end. */
  identity: string | null;
}

/**
 * The tar from a byte on. A content that `from` is in the middle of is read from its beginning, for its digest; the last
 * piece of each comes only when its digest is right. Throws DIGEST_MISMATCH or MODEL_INCOMPLETE.
 */
export async function* readPlan(plan: BundlePlan, from: number, signal: AbortSignal): AsyncGenerator<BundlePiece> {
  const { text, contents } = plan;
  const begin = Buffer.concat([manifestHeader(plan), Buffer.from(text)]);
  const first = contents[0]?.start ?? plan.bytes - END.length;
  const opening = Buffer.concat([begin, Buffer.alloc(first - begin.length)]);
  if (from < first) yield { bytes: opening.subarray(from), isContent: false, identity: null };
  for (const content of contents) {
    if (content.end <= from) continue;
    let position = content.start;
    const rest = (bytes: Buffer): Buffer => {
      const left = bytes.subarray(Math.max(0, from - position));
      position += bytes.length;
      return left;
    };
    const identity = await fileIdentity(content.path);
    const header = rest(content.header);
    if (header.length > 0) yield { bytes: header, isContent: false, identity };
    await using file = await CheckedFile.open(content.path, content.file);
    for (let left = content.file.size; left > 0; ) {
      signal.throwIfAborted();
      const bytes = await file.read(PIECE);
      // Cut short: its digest is not the one.
      if (bytes.length < Math.min(PIECE, left)) left = 0;
      left -= bytes.length;
      if (left <= 0) file.finish();
      const wanted = rest(bytes);
      if (wanted.length > 0) yield { bytes: wanted, isContent: true, identity };
    }
    if (content.file.size === 0) file.finish();
    const fill = rest(Buffer.alloc(padding(content.file.size)));
    if (fill.length > 0) yield { bytes: fill, isContent: false, identity };
  }
  const last = plan.bytes - END.length;
  yield { bytes: END.subarray(Math.max(0, from - last)), isContent: false, identity: null };
}

/** Of the bytes that a content has on the disk: a repair makes another file. */
export async function fileIdentity(path: string): Promise<string> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new MusterError("MODEL_INCOMPLETE", `${path} went away while it was exported.`, {
      hint: "Run `muster sync` to complete the model, then the same `muster export` again: it goes on from there.",
      cause,
    });
  });
  return `${found.ino}-${found.size}-${Math.round(found.mtimeMs)}`;
}

/** Bytes of contents that stand before a byte of the tar. */
export function contentBytesBefore({ contents }: BundlePlan, position: number): number {
  return contents.reduce(
    (sum, { start, header, file }) => sum + Math.min(file.size, Math.max(0, position - start - header.length)),
    0,
  );
}

/** The content in which a byte of the tar stands; null for the manifest and the end. */
export function contentAt({ contents }: BundlePlan, position: number): PlannedContent | null {
  return contents.find(({ start, end }) => start <= position && position < end) ?? null;
}

function manifestHeader({ text, models }: BundlePlan): Buffer {
  return entryHeader({ name: MANIFEST_NAME, size: Buffer.byteLength(text), mtime: newest(models) });
}

/** Of no clock: the same models make the same bytes. */
function newest(models: readonly StoredModel[]): Date {
  const seconds = models.map(({ storedAt }) => Math.floor(Date.parse(storedAt) / 1000) || 0);
  return new Date(Math.max(0, ...seconds) * 1000);
}
