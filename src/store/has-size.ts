import { stat } from "node:fs/promises";

/** True when the file is there with that many bytes (its digest is another question). */
export async function hasSize(path: string, size: number): Promise<boolean> {
  const found = await stat(path).catch(() => null);
  return found?.size === size;
}
