import { join } from "node:path";
import { percentile } from "../report/medians.ts";
import type { JobsRound } from "../report/results.ts";
import type { Workplace } from "../workplace.ts";
import { all, oneByOne } from "./at-once.ts";
import { startBenchCoordinator } from "./bench-coordinator.ts";
import { startBenchWorker } from "./bench-worker.ts";
import { chat } from "./chat.ts";

const JOBS = 500;
const PIECES = 200;
const STREAMS = 50;
const AT_ONCE = 64;
const SMALL_JOBS = 6_000;

type Overhead = Pick<JobsRound, "overheadMsPerJob" | "overheadMsPerChunk" | "jobsPerSecond">;

/** The same engine asked directly, and through a worker over a real WebSocket. */
export async function measureOverhead(place: Workplace, engine: string): Promise<Overhead> {
  await using coordinator = await startBenchCoordinator(500);
  const folder = join(place.folder, `overhead-${crypto.randomUUID()}`);
  await using _worker = await startBenchWorker(place, {
    ...{ folder, engine, coordinator: coordinator.url, slots: AT_ONCE },
  });
  await coordinator.ready;

  const ask = async (pieces: number) => {
    const body = JSON.stringify({ ...chat(pieces), model: "echo", stream: true });
    const answer = await fetch(`${engine}/chat/completions`, { method: "POST", body });
    await answer.text();
  };
  const small = { input: chat(1), stream: false };
  const long = { input: chat(PIECES), stream: true };
  await all(200, AT_ONCE, () => coordinator.run(small));
  await all(200, AT_ONCE, () => ask(1));

  const direct = await oneByOne(JOBS, () => ask(1));
  const through = await oneByOne(JOBS, () => coordinator.run(small));
  const directStream = await oneByOne(STREAMS, () => ask(PIECES));
  const throughStream = await oneByOne(STREAMS, () => coordinator.run(long));
  const startedAt = performance.now();
  await all(SMALL_JOBS, AT_ONCE, () => coordinator.run(small));
  return {
    jobsPerSecond: SMALL_JOBS / ((performance.now() - startedAt) / 1000),
    overheadMsPerJob: percentile(through, 50) - percentile(direct, 50),
    overheadMsPerChunk: (percentile(throughStream, 50) - percentile(directStream, 50)) / PIECES,
  };
}
