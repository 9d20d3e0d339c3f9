import { readFile } from "node:fs/promises";

/**
 * The trimmed text of a file in sysfs or procfs, or null. These files come and go with drivers and kernel versions, and
 * reading one can fail in many ways (ENOENT, EACCES, EINVAL, ENODEV, EIO); each of them only means: not known.
 */
export async function readText(path: string): Promise<string | null> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    if (error instanceof Error && "syscall" in error) return null;
    throw error;
  }
}

/** The whole non-negative number in such a file, or null; kernels write -1 or "max" for "none". */
export async function readNumber(path: string): Promise<number | null> {
  const text = await readText(path);
  return text !== null && /^\d+$/.test(text) ? Number(text) : null;
}
