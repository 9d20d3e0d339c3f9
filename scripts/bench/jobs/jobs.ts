import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { toDocument } from "../report/document.ts";
import { describeMachine, describeOrigin } from "../report/machine.ts";
import { DOCUMENT, type JobsRound, KEPT_FIGURES, mergeWithKept, writeResults } from "../report/results.ts";
import { buildMuster } from "../tools/muster.ts";
import { openWorkplace, type Workplace } from "../workplace.ts";
import { measureBeats, startLargeHub } from "./measure-beats.ts";
import { measureOverhead } from "./measure-overhead.ts";

/** What the agent adds to a job, and whether it keeps its beat: `npm run bench:jobs`. */

const FULL = { mib: "4096", rounds: "3" };
const USAGE = `usage: npm run bench:jobs -- [--mib N] [--rounds N]
  --mib N     size of the file that is fetched beside the streams, ${FULL.mib}
  --rounds N  ${FULL.rounds}
Figures of full size go to docs/benchmarks.json and docs/benchmarks.md; those of a trial are printed only.
`;

const { values } = parseArgs({
  options: {
    mib: { type: "string", default: FULL.mib },
    rounds: { type: "string", default: FULL.rounds },
    help: { type: "boolean", short: "h" },
  },
});
if (values.help) process.stdout.write(USAGE);
else await run(Number(values.mib), Number(values.rounds));

async function run(mib: number, rounds: number): Promise<void> {
  await using place = await openWorkplace();
  await buildMuster(place, join(place.folder, "scratch"));
  const engine = await startEngine(place);
  const hub = await startLargeHub(place, mib);
  const measured: JobsRound[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    measured.push({ ...(await measureOverhead(place, engine)), ...(await measureBeats(place, engine, hub)) });
    process.stdout.write(`round ${round} of ${rounds}: ${JSON.stringify(measured.at(-1))}\n`);
  }
  if (mib < Number(FULL.mib) || rounds < Number(FULL.rounds)) return;
  const jobs = { ...(await describeOrigin(place)), rounds: measured };
  const results = await mergeWithKept({ machine: await describeMachine(place), jobs });
  await writeResults(KEPT_FIGURES, results);
  await writeFile(DOCUMENT, toDocument(results));
}

/** Where it answers. */
async function startEngine(place: Workplace): Promise<string> {
  const argv = [process.execPath, join(import.meta.dirname, "engine.ts")];
  const engine = place.start(argv, { stdio: ["ignore", "pipe", "inherit"] });
  const [port] = await once(createInterface({ input: engine.stdout! }), "line");
  return `http://127.0.0.1:${port}/v1`;
}
