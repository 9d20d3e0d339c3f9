import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Workplace } from "../workplace.ts";

export const BEAT_MS = 10_000;

/** Simulated workers in a process of their own, spread over the coordinators; settles once all are connected. */
export async function startWorkers(
  place: Workplace,
  { addresses, workers }: { addresses: readonly string[]; workers: number },
): Promise<ChildProcess> {
  const urls = addresses.map((address) => `ws://${address}`).join();
  const argv = [process.execPath, join(import.meta.dirname, "workers.ts"), urls, String(workers), String(BEAT_MS)];
  const fleet = place.start(argv, { stdio: ["ignore", "pipe", "inherit"] });
  await once(createInterface({ input: fleet.stdout! }), "line");
  return fleet;
}
