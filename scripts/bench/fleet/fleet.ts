import type { ChildProcess } from "node:child_process";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { toDocument } from "../report/document.ts";
import { describeMachine, describeOrigin } from "../report/machine.ts";
import { DOCUMENT, type FleetRound, KEPT_FIGURES, mergeWithKept, writeResults } from "../report/results.ts";
import { buildMuster } from "../tools/muster.ts";
import { bareEnvironment } from "../tools/tool.ts";
import { openWorkplace, ROOT, type Workplace } from "../workplace.ts";
import { answering, openClient } from "./client.ts";
import { measureDispatch } from "./measure-dispatch.ts";
import { BEAT_MS, startWorkers } from "./start-workers.ts";

/** What a fleet costs one coordinator, and how fast it gives out jobs: `npm run bench:fleet`. */

const FULL = { workers: "10000", rounds: "3" };
const WATCHED_MS = 30_000;
/** Of the clock that /proc counts CPU time by. */
const TICKS_PER_SECOND = 100;
const USAGE = `usage: npm run bench:fleet -- [--workers N] [--rounds N]
  --workers N  simulated workers, each with a WebSocket of its own, ${FULL.workers}
  --rounds N   ${FULL.rounds}
Figures of full size go to docs/benchmarks.json and docs/benchmarks.md; those of a trial are printed only.
`;

const { values } = parseArgs({
  options: {
    workers: { type: "string", default: FULL.workers },
    rounds: { type: "string", default: FULL.rounds },
    help: { type: "boolean", short: "h" },
  },
});
if (values.help) process.stdout.write(USAGE);
else await run(Number(values.workers), Number(values.rounds));

async function run(workers: number, rounds: number): Promise<void> {
  await using place = await openWorkplace();
  await buildMuster(place, join(place.folder, "scratch"));
  const measured: FleetRound[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    measured.push(await measureFleet(place, workers));
    process.stdout.write(`round ${round} of ${rounds}: ${JSON.stringify(measured.at(-1))}\n`);
  }
  if (workers < Number(FULL.workers) || rounds < Number(FULL.rounds)) return;
  const fleet = { ...(await describeOrigin(place)), workers, rounds: measured };
  const results = await mergeWithKept({ machine: await describeMachine(place), fleet });
  await writeResults(KEPT_FIGURES, results);
  await writeFile(DOCUMENT, toDocument(results));
}

async function measureFleet(place: Workplace, workers: number): Promise<FleetRound> {
  const folder = await mkdtemp(join(place.folder, "fleet-"));
  const port = 20_000 + Math.floor(Math.random() * 10_000);
  const address = `127.0.0.1:${port}`;
  const muster = join(ROOT, "dist", "muster.js");
  const args = ["coordinator", "--listen", address, "--store", join(folder, "jobs.db"), "--beat-ms", String(BEAT_MS)];
  const env = bareEnvironment({ LOG_LEVEL: "warn", MODEL_CACHE_DIR: folder, STATE_DIR: folder });
  const coordinator = place.start([process.execPath, muster, ...args], { env });
  await answering(`http://${address}/livez`, place.signal);
  const before = await residentKib(coordinator);
  const fleet = await startWorkers(place, { addresses: [address], workers });
  // Memory that connecting took for a moment is given back within the first beats.
  await sleep(BEAT_MS, undefined, { signal: place.signal });
  const cpuBefore = await cpuSeconds(coordinator);
  await sleep(WATCHED_MS, undefined, { signal: place.signal });
  const cpuShare = ((await cpuSeconds(coordinator)) - cpuBefore) / (WATCHED_MS / 1000);
  const rssKibPerWorker = ((await residentKib(coordinator)) - before) / workers;

  const client = openClient([address]);
  const dispatch = await measureDispatch(client);
  await client.close();
  await place.stop(fleet);
  await place.stop(coordinator);
  return { cpuShare, rssKibPerWorker, ...dispatch };
}

async function residentKib({ pid }: ChildProcess): Promise<number> {
  return Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1]);
}

async function cpuSeconds({ pid }: ChildProcess): Promise<number> {
  // The name of the program, in brackets, may have spaces.
  const fields = (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
