import { constants } from "node:fs";
import { EXIT, MusterError, toMusterError } from "../errors.ts";
import { bytes, timeLeft } from "../fetch/progress-log.ts";
import { type DiskMeasures, type Latency, measureDisk } from "../store/measure-disk.ts";
import { volumeError } from "../store/volume-error.ts";
import { diskSpace, isAccessible } from "../system.ts";
import { type Check, checkLine } from "./doctor/check.ts";
import { print } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";
import { showWork } from "./work-progress.ts";

export interface BenchDiskOptions extends GlobalOptions {
  /** Bytes of the file that is written and read. */
  size?: number;
}

const SIZE = 1e9;
/** A link of 1 Gbit/s: a slower disk is what fetching waits for. */
const LINK_RATE = 125e6;
/** A model of 14 GB is read in about a minute. */
const LOAD_RATE = 250e6;
/** A model for whose time these are told. */
const MODEL = 40e9;
/** A large file is synced a few times while it comes, a model of a thousand files renames a thousand times. */
const SLOW_MS = { sync: 50, rename: 20, lease: 250 };

/** `muster bench-disk`: how fast the volume is in the ways in which it is used, beside what they need. */
export async function benchDisk({ size = SIZE, ...options }: BenchDiskOptions): Promise<number> {
  const { config, log } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const path = config.modelCacheDir;
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
  if (!(await isAccessible(path, constants.F_OK))) {
    throw new MusterError("USAGE", `${path} does not exist.`, {
      hint: `Mount the volume there (-v /data/ai-models:${path}), or set MODEL_CACHE_DIR.`,
    });
  }
  const { free } = await diskSpace(path);
  if (free < size * 1.1) {
    throw new MusterError("DISK_FULL", `${path} has ${bytes(free)} free, too little to write ${bytes(size)} there.`, {
      hint: "Measure with less: `muster bench-disk --size 100MB`; `muster prune` frees space.",
    });
  }
  const terminal = process.stderr.isTTY && !options.json ? process.stderr : null;
  let measures: DiskMeasures;
  {
    using progress = showWork({ doing: "Measuring", done: "Measured", name: path }, terminal, log);
    progress.onPlan({ bytes: size * 2, missingBytes: size * 2, missingFiles: 1 });
    measures = await measureDisk(path, { bytes: size, signal: stop.signal, onBytes: progress.onBytes }).catch(
      (error: unknown) => {
        throw toMusterError(volumeError(error, path));
      },
    );
  }
  const checks = judge(measures);
  print({ path, bytes: size, ...measures, checks }, options, () => checks.map(checkLine).join("\n"));
  return EXIT.ok;
}

/** What the measures mean for fetching and loading. */
export function judge({ writeRate, readRate, readsDisk, syncMs, renameMs, leaseMs }: DiskMeasures): Check[] {
  const time = (rate: number) => timeLeft(MODEL / rate);
  const cached = "the file system does not let itself be read past the page cache: that was memory, most likely";
  return [
    {
      name: "write",
      result: writeRate < LINK_RATE ? "warn" : "ok",
      found: `${bytes(writeRate)}/s: a model of ${bytes(MODEL)} is fetched in ${time(writeRate)} at best`,
      hint: "The disk is slower than a link of 1 Gbit/s: use a faster one, or fetch ahead of time with `muster sync --prefetch`.",
    },
    {
      name: "read",
      result: readsDisk && readRate < LOAD_RATE ? "warn" : "ok",
      found: `${bytes(readRate)}/s: ${readsDisk ? `an engine loads a model of ${bytes(MODEL)} in ${time(readRate)} at best` : cached}`,
      hint: "Loading will wait for the disk: `muster warm MODEL` reads it into memory beforehand.",
    },
    ofLatency("sync", syncMs, "of a small write", "Look for what else writes there: `iostat -x 5` on the host."),
    ofLatency(
      "rename",
      renameMs,
      "of a file",
      "Mount a network file system without `noac` and `sync`; `muster doctor` tells.",
    ),
    ofLatency("lease", leaseMs, "to take and give back", "Workers that start together will wait: see `muster doctor`."),
  ];
}

function ofLatency(name: keyof typeof SLOW_MS, { median, worst }: Latency, of: string, hint: string): Check {
  const found = `${median.toFixed(1)} ms ${of} (median; ${worst.toFixed(1)} ms at worst)`;
  return { name, result: median > SLOW_MS[name] ? "warn" : "ok", found, hint };
}
