import { hasSystemCode, MusterError } from "../errors.ts";

/** A refusal of the file system in the operator's words; anything else comes back as it was. */
export function volumeError(error: unknown, path: string): unknown {
  if (hasSystemCode(error, "EACCES", "EPERM")) {
    const id = `${process.getuid?.() ?? 1000}:${process.getgid?.() ?? 1000}`;
    return new MusterError("VOLUME_NOT_WRITABLE", `No permission to write ${path} as ${id}.`, {
      hint: `On the host run \`chown -R ${id} <the mounted folder>\`, or start the container with --user set to the folder's owner; with SELinux mount it with :z, with rootless Podman with :U.`,
      cause: error,
    });
  }
  if (hasSystemCode(error, "EROFS")) {
    return new MusterError("VOLUME_READ_ONLY", `${path} is on a read-only mount, and something is missing there.`, {
      hint: "Mount the volume writable for one `muster sync`, or fetch the models where it is writable; with all models present a read-only mount is fine.",
      cause: error,
    });
  }
  if (hasSystemCode(error, "ENOSPC", "EDQUOT")) {
    return new MusterError("DISK_FULL", `No space left while writing ${path}. What was fetched so far is kept.`, {
      hint: "Free space or enlarge the volume, then run `muster sync`: it goes on where it stopped.",
      cause: error,
    });
  }
  if (hasSystemCode(error, "EFBIG")) {
    return new MusterError("VOLUME_NOT_WRITABLE", `A file at ${path} may not grow as large as it has to.`, {
      hint: "Raise the limit (`ulimit -f unlimited`), or use a file system without one: FAT ends at 4 GiB.",
      cause: error,
    });
  }
  if (hasSystemCode(error, "ENOTDIR")) {
    return new MusterError("VOLUME_NOT_WRITABLE", `${path} is no folder, or leads through a file.`, {
      hint: "Set MODEL_CACHE_DIR (and HF_HUB_CACHE and OLLAMA_MODELS, where they are set) to a folder; `ls -ld` shows what is there.",
      cause: error,
    });
  }
  if (hasSystemCode(error, "EIO", "ESTALE")) {
    return new MusterError("VOLUME_NOT_WRITABLE", `The disk under ${path} fails: ${error.message}.`, {
      hint: "Look for its errors in `dmesg` on the host (of a network file system on its server too), then run `muster sync`.",
      cause: error,
    });
  }
  return error;
}
