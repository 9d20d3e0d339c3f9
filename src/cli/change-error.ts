import { MusterError } from "../errors.ts";
import { volumeError } from "../store/volume-error.ts";

/** The volume's errors in the words of a command that changes what is there, and fetches nothing. */
export function changeError(error: unknown, volume: string, command: string): unknown {
  const failure = volumeError(error, volume);
  if (!(failure instanceof MusterError)) return failure;
  const again = `run the same \`muster ${command}\` again.`;
  const told = (message: string, hint: string) => new MusterError(failure.code, message, { hint, cause: error });
  if (failure.code === "VOLUME_READ_ONLY")
    return told(`${volume} is on a read-only mount.`, `Mount the volume writable, then ${again}`);
  if (failure.code === "DISK_FULL")
    return told(`No space left while writing ${volume}.`, `Free space or enlarge the volume, then ${again}`);
  return told(failure.message, failure.hint.replace("run `muster sync`.", again));
}
