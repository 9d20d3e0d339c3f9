import { access, constants } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import checkDiskSpaceModule from "check-disk-space";
import manifest from "../package.json" with { type: "json" };
import { MusterError } from "./errors.ts";
import { makeLevels } from "./make-levels.ts";

export const VERSION = manifest.version;

// The package's declarations describe its CommonJS form; what an ES module imports is the function itself.
const checkDiskSpace = checkDiskSpaceModule as unknown as typeof checkDiskSpaceModule.default;

/** Bytes free and in all on the file system that holds (or will hold) the path. */
export async function diskSpace(path: string): Promise<{ free: number; size: number }> {
  const { free, size } = await checkDiskSpace(await nearestExisting(path));
  return { free, size };
}

async function nearestExisting(path: string): Promise<string> {
  for (let folder = path; ; folder = dirname(folder)) {
    if (await isAccessible(folder, constants.F_OK)) return folder;
    if (folder === dirname(folder)) return folder;
  }
}

export async function isAccessible(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

/** Whether a program of this name is found in a list of folders such as PATH. */
export async function isInstalled(program: string, path = process.env.PATH ?? ""): Promise<boolean> {
  for (const folder of path.split(delimiter)) {
    if (await isAccessible(join(folder, program), constants.X_OK)) return true;
  }
  return false;
}

/** The first private folder of this worker that can be written, made if need be. */
export async function stateDirectory(configured: string | null): Promise<string> {
  const candidates = configured
    ? [configured]
    : [
        "/var/lib/muster",
        join(process.env.XDG_STATE_HOME || join(homedir(), ".local", "state"), "muster"),
        // By number: a container may run as somebody of whom its /etc/passwd knows nothing.
        join(tmpdir(), `muster-${process.getuid?.() ?? "user"}`),
      ];
  for (const [position, folder] of candidates.entries()) {
    try {
      await makeLevels(folder, 0o700);
      await access(folder, constants.W_OK);
      return folder;
    } catch (cause) {
      if (position < candidates.length - 1) continue;
      const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
      throw new MusterError("CONFIG_INVALID", `STATE_DIR ${folder} cannot be written (${code}).`, {
        hint: "Set STATE_DIR to a private folder that the user of this process may write.",
        cause,
      });
    }
  }
  throw new Error("unreachable");
}
