import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { measureAgent } from "./agent.ts";
import { makeCertificates } from "./hub/certificates.ts";
import { type MadeSet, makeData } from "./hub/data.ts";
import { startNginx } from "./hub/nginx.ts";
import { writeSite } from "./hub/site.ts";
import { isFull, type Options, parseOptions, USAGE } from "./options.ts";
import { toDocument } from "./report/document.ts";
import { describeMachine, describeOrigin } from "./report/machine.ts";
import { DOCUMENT, KEPT_FIGURES, mergeWithKept, NOTHING, type Results, writeResults } from "./report/results.ts";
import { type Bench, runScenario } from "./run-scenario.ts";
import { allScenarios, SCENARIOS, type Scenario } from "./scenarios.ts";
import { findMissing } from "./tools/missing.ts";
import { buildMuster } from "./tools/muster.ts";
import { openWorkplace, type Workplace } from "./workplace.ts";

/** Compares muster with other tools, on data and a hub of its own; see USAGE. */

/** Without these there is nothing to measure with. */
const NEEDED = ["nginx", "curl", "openssl", "bash", "/usr/bin/time"];
const AGENT = "agent";
const startedAt = performance.now();
const say = (line: string) =>
  void process.stdout.write(`${((performance.now() - startedAt) / 1000).toFixed(0).padStart(4)} s  ${line}\n`);

try {
  const options = parseOptions(process.argv.slice(2), [...SCENARIOS, AGENT]);
  if (options === "help") process.stdout.write(USAGE);
  else if (options === "list") process.stdout.write(`${[...SCENARIOS, AGENT].join("\n")}\n`);
  else await run(options);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}

async function run(options: Options): Promise<void> {
  await using place = await openWorkplace();
  const wants = (name: string) => options.only.length === 0 || options.only.includes(name);
  const all = allScenarios(options.mib);
  const scenarios = all.filter(({ name }) => wants(name));
  const fresh = await measureAll({ options, scenarios, agent: wants(AGENT), place });
  if (options.json) await writeResults(resolve(options.json), fresh);
  const isKept = isFull(options);
  const results = isKept ? await mergeWithKept(fresh) : fresh;
  const text = toDocument(results);
  process.stdout.write(`\n${text}\n`);
  if (!isKept) return say("a trial: docs/benchmarks.json and docs/benchmarks.md stay as they are");
  await writeResults(KEPT_FIGURES, results);
  await writeFile(DOCUMENT, text);
  say("written to docs/benchmarks.json and docs/benchmarks.md");
}

interface Plan {
  options: Options;
  scenarios: Scenario[];
  agent: boolean;
  place: Workplace;
}

async function measureAll({ options, scenarios, agent, place }: Plan): Promise<Results> {
  const missing = await findMissing([
    ...NEEDED,
    ...scenarios.flatMap(({ tools }) => tools.flatMap(({ needs }) => needs)),
  ]);
  const lacking = NEEDED.flatMap((program) => missing.get(program) ?? []);
  if (lacking.length > 0) throw new Error(lacking.join("\n"));
  const scratch = join(place.folder, "scratch");
  say("building muster");
  await buildMuster(place, scratch);
  const sets = await makeSets(options, agent ? [...scenarios, warmScenario(options)] : scenarios, place);
  const certificates = await makeCertificates(place);
  const site = await writeSite(join(place.folder, "site"), [...sets.values()]);
  const nginxOptions = { site, certificates };
  const nginx = await startNginx(place, nginxOptions);
  const origin = await describeOrigin(place);
  const bench: Bench = { place, rounds: options.rounds, sets, nginx, nginxOptions, scratch, missing, origin, say };
  const results: Results = { ...NOTHING, scenarios: [], machine: await describeMachine(place) };
  for (const scenario of scenarios) results.scenarios.push(await runScenario(scenario, bench));
  if (agent) results.agent = await measureAgent(bench, warmScenario(options).set.name);
  return results;
}

function warmScenario({ mib }: Options): Scenario {
  return allScenarios(mib).find(({ warm }) => warm)!;
}

async function makeSets({ data }: Options, scenarios: Scenario[], place: Workplace): Promise<Map<string, MadeSet>> {
  const folder = data === null ? join(place.folder, "data") : resolve(data);
  await mkdir(folder, { recursive: true });
  const sets = new Map<string, MadeSet>();
  for (const { set } of scenarios) {
    if (sets.has(set.name)) continue;
    say(`data: ${set.name}, ${set.files.length} × ${(set.files[0]!.size / 2 ** 20).toFixed(2)} MiB`);
    sets.set(set.name, await makeData(set, folder, place.signal));
  }
  return sets;
}
