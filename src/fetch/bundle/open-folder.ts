import { createReadStream } from "node:fs";
import { lstat, readFile } from "node:fs/promises";
import { join } from "node:path";
import { hasSystemCode } from "../../errors.ts";
import {
  bundleId,
  type Content,
  contentsOf,
  MANIFEST_MOST,
  MANIFEST_NAME,
  parseBundle,
  refused,
} from "./bundle-manifest.ts";
import type { Bundle } from "./open-bundle.ts";
import { cutShort } from "./tar-reader.ts";

const PIECE = 1 << 20;

/** A bundle that is unpacked; null where the folder holds none. Throws BUNDLE_INVALID. */
export async function openFolder(folder: string): Promise<Bundle | null> {
  const text = await readManifestText(folder);
  if (text === null) return null;
  const { models } = parseBundle(text, folder);
  for (const content of contentsOf(models)) await look(folder, content);
  return {
    name: folder,
    id: bundleId(text),
    models,
    isStream: false,
    async read(content, from) {
      await look(folder, content);
      return createReadStream(join(folder, content.name), { start: from, highWaterMark: PIECE });
    },
    finish: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  };
}

export async function readManifestText(folder: string): Promise<string | null> {
  const path = join(folder, MANIFEST_NAME);
  const found = await lstat(path).catch((error: unknown) => {
    if (hasSystemCode(error, "ENOENT", "ENOTDIR")) return null;
    throw error;
  });
  if (found === null) return null;
  if (!found.isFile() || found.size > MANIFEST_MOST) throw refused(folder, `its ${MANIFEST_NAME} is none`);
  return readFile(path, "utf8");
}

async function look(folder: string, { name, size }: Content): Promise<void> {
  const found = await lstat(join(folder, name)).catch(() => null);
  if (found && !found.isFile()) throw refused(folder, `${name} in it is no file`);
  if (found?.size !== size) throw cutShort(join(folder, name));
}
