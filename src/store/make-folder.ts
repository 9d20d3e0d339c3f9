import { dirname } from "node:path";
import { hasSystemCode, MusterError } from "../errors.ts";
import { makeLevels } from "../make-levels.ts";

/** `mkdir -p` on a volume. Throws VOLUME_NOT_WRITABLE where its file system takes no folders. */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await makeLevels(folder);
  } catch (error) {
    throw hasSystemCode(error, "ENOENT") ? takesNone(dirname(error.path ?? folder), error) : error;
  }
}

function takesNone(folder: string, cause: unknown): MusterError {
  return new MusterError("VOLUME_NOT_WRITABLE", `No folder can be made in ${folder}: its file system takes none.`, {
    hint: "Set MODEL_CACHE_DIR, or the variable that leads there, to a folder on a disk; `muster doctor` tries it.",
    cause,
  });
}
