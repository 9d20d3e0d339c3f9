import { mkdtemp, readFile, readlink, rename, rm, stat, statfs, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../../config.ts";
import { MusterError, toMusterError } from "../../errors.ts";
import { bytes } from "../../fetch/progress-log.ts";
import { acquireLease, tryLease } from "../../store/lease.ts";
import { volumeError } from "../../store/volume-error.ts";
import { diskSpace } from "../../system.ts";
import type { Check } from "./check.ts";
import { TRY_MS } from "./knock.ts";

/** A folder whose name `muster prune` knows, should this be killed. */
const TRIAL = ".muster-doctor-";
/** Ages of files are told by the volume's own clock, but its times are shown beside those of this machine. */
const CLOCK_MS = 60_000;

/** Tries on the volume what fetching does there, and looks at its room. */
export async function checkVolume({ modelCacheDir: path }: Pick<Config, "modelCacheDir">): Promise<Check[]> {
  return [...(await tryVolume(path)), ...(await checkSpace(path))];
}

async function tryVolume(path: string): Promise<Check[]> {
  let trial = "";
  try {
    trial = await mkdtemp(join(path, TRIAL));
    const links = await tryFiles(trial);
    const owner = await stat(path);
    const volume: Check = {
      name: "volume",
      result: "ok",
      found: `${path} can be written, has ${links}, belongs to ${owner.uid}:${owner.gid}`,
    };
    // Where not even that can be written, the lease has told.
    return [volume, await checkLease(trial), ...(await checkClock(trial).catch(() => []))];
  } catch (error) {
    const failure = toMusterError(volumeError(error, path));
    const absent = (error as NodeJS.ErrnoException).code === "ENOENT";
    const readOnly = failure.code === "VOLUME_READ_ONLY";
    return [
      {
        name: "volume",
        result: readOnly ? "warn" : "fail",
        found: absent ? `${path} does not exist` : failure.message,
        hint: absent ? `Mount the volume there (-v /data/ai-models:${path}), or set MODEL_CACHE_DIR.` : failure.hint,
      },
    ];
  } finally {
    if (trial) await rm(trial, { recursive: true, force: true });
  }
}

/** Write, link, and rename over what stands there; gives what links there are. Throws as the system does. */
async function tryFiles(trial: string): Promise<string> {
  const [from, to, link] = [join(trial, "a"), join(trial, "b"), join(trial, "link")];
  await writeFile(from, "new", { flush: true });
  await writeFile(to, "old");
  await rename(from, to);
  if ((await readFile(to, "utf8")) !== "new") {
    throw new MusterError("VOLUME_NOT_WRITABLE", "A rename there does not replace the file that has the name.", {
      hint: "Use another file system: ext4, XFS or NFS.",
    });
  }
  const target = await symlink("b", link)
    .then(() => readlink(link))
    .catch(() => null);
  return target === "b" ? "symbolic links" : "no symbolic links (plain files are used)";
}

/** Two that want the same model at once: one gets it, and gives it back. */
async function checkLease(trial: string): Promise<Check> {
  const name = "lease";
  const folder = join(trial, "lease");
  const options = { what: "muster doctor", signal: AbortSignal.timeout(TRY_MS) };
  const startedAt = performance.now();
  try {
    const lease = await acquireLease(folder, options);
    const second = await tryLease(folder, options);
    await lease.release();
    const latencyMs = Math.round(performance.now() - startedAt);
    if (!second) return { name, result: "ok", found: `can be had by one at a time, in ${latencyMs} ms`, latencyMs };
    const hint = "Use another file system for a volume that several workers share: ext4, XFS or NFS.";
    return { name, result: "fail", found: "two had the same lease: files are not created exclusively there", hint };
  } catch (error) {
    const { message, hint } = toMusterError(volumeError(error, folder));
    return { name, result: "fail", found: `cannot be had: ${message}`, hint };
  }
}

async function checkClock(trial: string): Promise<Check[]> {
  const before = Date.now();
  const path = join(trial, "clock");
  await writeFile(path, "now");
  const { mtimeMs } = await stat(path);
  const ahead = mtimeMs > Date.now() ? mtimeMs - Date.now() : Math.min(0, mtimeMs - before);
  if (Math.abs(ahead) < CLOCK_MS) return [];
  const how = `${Math.round(Math.abs(ahead) / 1000)} s ${ahead > 0 ? "ahead of" : "behind"}`;
  const hint = "Set both clocks: `timedatectl set-ntp true` here and on the file server.";
  return [{ name: "clock", result: "warn", found: `the volume's clock is ${how} this machine's`, hint }];
}

async function checkSpace(path: string): Promise<Check[]> {
  const { free, size } = await diskSpace(path);
  const files = await statfs(path).catch(() => null);
  // File systems that make them as they are needed have no number.
  const isShort = files !== null && files.files > 0 && files.ffree < files.files * 0.01;
  const checks: Check[] = [
    {
      name: "space",
      result: free < size * 0.05 ? "warn" : "ok",
      found: `${bytes(free)} of ${bytes(size)} free at ${path}`,
      hint: "Free space or enlarge the volume: `muster du` shows what takes it, `muster prune --older-than 30d` frees it.",
    },
  ];
  if (isShort) {
    const found = `only ${files.ffree} of ${files.files} files can still be made at ${path}`;
    checks.push({ name: "space", result: "warn", found, hint: "Remove small files there; `df -i` tells of it." });
  }
  return checks;
}
