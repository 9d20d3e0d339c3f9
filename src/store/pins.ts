import { readdir, readFile, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname } from "node:path";
import * as z from "zod";
import type { Layout } from "./layout.ts";
import { syncFolder } from "./partial-file.ts";
import { writeFileDurably } from "./write-durably.ts";

/**
 * What is not to be removed, whatever its age and the volume's size: a file a record. Who pins writes it and then looks for
 * the record; who removes hides the record and then looks for it. So of two that cross at least one sees the other.
 */

const pinSchema = z.object({
  formatVersion: z.literal(1),
  /** RFC 3339. */
  since: z.string(),
  host: z.string(),
});
export type Pin = Omit<z.output<typeof pinSchema>, "formatVersion">;

/** Settles when it is on the volume. One that is there already stays as it is. */
export async function writePin(layout: Layout, key: string): Promise<void> {
  if (await readPin(layout, key)) return;
  const pin: z.input<typeof pinSchema> = { formatVersion: 1, since: new Date().toISOString(), host: hostname() };
  await writeFileDurably(layout.pin(key), `${JSON.stringify(pin)}\n`);
}

export async function removePin(layout: Layout, key: string): Promise<void> {
  await rm(layout.pin(key), { force: true });
  await syncFolder(dirname(layout.pin(key)));
}

export async function readPin(layout: Layout, key: string): Promise<Pin | null> {
  const text = await readFile(layout.pin(key), "utf8").catch(() => null);
  if (text === null) return null;
  try {
    const { since, host } = pinSchema.parse(JSON.parse(text));
    return { since, host };
  } catch {
    // Perhaps of a newer version: somebody meant it to stay.
    return { since: "", host: "" };
  }
}

/** By record key. */
export async function readPins(layout: Layout): Promise<Map<string, Pin>> {
  const names = (await readdir(layout.pins).catch(() => [])).filter((name) => name.endsWith(".json"));
  const keys = names.map((name) => basename(name, ".json"));
  const pins = await Promise.all(keys.map(async (key) => [key, await readPin(layout, key)] as const));
  return new Map(pins.flatMap(([key, pin]) => (pin ? [[key, pin]] : [])));
}
