import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Roots } from "../../src/detect/probe.ts";

export interface FileTree {
  roots: Roots;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Folders that stand for /sys, /proc and /dev, holding these files: { "proc/meminfo": "…" }. */
export async function fileTree(files: Record<string, string> = {}): Promise<FileTree> {
  const root = await mkdtemp(join(tmpdir(), "muster-roots-"));
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), `${content}\n`);
  }
  return {
    roots: { sys: join(root, "sys"), proc: join(root, "proc"), dev: join(root, "dev") },
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  };
}

/** The files of one graphics card in sysfs; `render` also gives its device node to this "container". */
export function drmCard(
  number: number,
  card: { vendor: string; device: string; pci: string; render?: number; files?: Record<string, string> },
): Record<string, string> {
  const folder = `sys/class/drm/card${number}`;
  const files: Record<string, string> = {
    [`${folder}/device/vendor`]: card.vendor,
    [`${folder}/device/device`]: card.device,
    [`${folder}/device/uevent`]: `DRIVER=some\nPCI_SLOT_NAME=${card.pci}`,
    [`${folder}/device/drm/renderD${card.render ?? 200 + number}/dev`]: "226:128",
  };
  if (card.render !== undefined) files[`dev/dri/renderD${card.render}`] = "";
  for (const [name, content] of Object.entries(card.files ?? {})) files[`${folder}/${name}`] = content;
  return files;
}
