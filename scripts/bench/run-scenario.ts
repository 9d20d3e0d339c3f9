import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import type { MadeSet } from "./hub/data.ts";
import type { Nginx, NginxOptions } from "./hub/nginx.ts";
import { openLink, type Route } from "./link/open-link.ts";
import { bytesIn, type Figures, measure, settle } from "./measure.ts";
import type { Origin, Run, ScenarioResult } from "./report/results.ts";
import type { Scenario } from "./scenarios.ts";
import type { Task, Tool } from "./tools/tool.ts";
import type { Workplace } from "./workplace.ts";

/** What all scenarios run on. */
export interface Bench {
  place: Workplace;
  rounds: number;
  sets: Map<string, MadeSet>;
  nginx: Nginx;
  nginxOptions: NginxOptions;
  scratch: string;
  /** Programs that are not there, with what to say of them. */
  missing: Map<string, string>;
  origin: Origin;
  say: (line: string) => void;
}

/** Runs every tool of the scenario once a round. */
export async function runScenario(scenario: Scenario, bench: Bench): Promise<ScenarioResult> {
  const { place, rounds, say } = bench;
  const missing = scenario.tools.flatMap((tool) => {
    const program = tool.needs.find((name) => bench.missing.has(name));
    return program === undefined ? [] : [{ tool: tool.name, why: bench.missing.get(program)! }];
  });
  for (const { tool, why } of missing) say(`${scenario.name}: without ${tool}: ${why}`);
  const tools = scenario.tools.filter(({ name }) => !missing.some(({ tool }) => tool === name));
  const set = bench.sets.get(scenario.set.name)!;
  // Into the page cache, where the server finds it in every round.
  await place.run(["bash", "-c", 'cat -- "$1"/* >/dev/null', "bash", set.folder]);
  const runs: Run[] = [];
  let means: Route["means"] = null;
  for (let round = scenario.warm ? 0 : 1; round <= rounds; round += 1) {
    for (const tool of tools) {
      await using route = await openRoute(scenario, bench, round);
      means = route.means;
      const figures = await runTool(tool, { scenario, bench, set, route, fresh: !scenario.warm || round === 0 });
      const label = `${scenario.name}, ${round === 0 ? "unmeasured" : `round ${round} of ${rounds}`}, ${tool.name}`;
      say(`${label}: ${inWords(figures)}`);
      if (round > 0) runs.push({ tool: tool.name, round, ...rounded(figures) });
    }
  }
  const about = means ? `${scenario.about} ${MEANS[means]}` : scenario.about;
  const { name, title } = scenario;
  return { ...bench.origin, name, title, about, rounds, runs, missing };
}

const MEANS = {
  "tc netem":
    "The link is made by tc netem, in a network namespace of its own; the model above is then the kernel's own.",
  "delaying proxy":
    "This machine's kernel has no netem, so the link is a delaying TCP proxy (`scripts/bench/link`) that every tool goes through.",
};

async function openRoute(scenario: Scenario, bench: Bench, round: number): Promise<Route> {
  const { ports } = bench.nginx;
  if (scenario.link)
    return openLink(bench.place, { link: scenario.link, port: ports.plain, nginx: bench.nginxOptions, seed: round });
  const endpoint = `${scenario.port === "tls" ? "https" : "http"}://127.0.0.1:${ports[scenario.port]}`;
  return { endpoint, prefix: [], means: null, [Symbol.asyncDispose]: async () => undefined };
}

interface ToolRun {
  scenario: Scenario;
  bench: Bench;
  set: MadeSet;
  route: Route;
  fresh: boolean;
}

async function runTool(tool: Tool, { scenario, bench, set, route, fresh }: ToolRun): Promise<Figures> {
  const { place, scratch, nginxOptions } = bench;
  const folder = scenario.warm ? join(place.folder, "warm", tool.name) : await outputFolder(place, set);
  if (fresh) await settle(place, folder);
  const authority = scenario.port === "tls" ? nginxOptions.certificates.authority : null;
  const task: Task = { set, endpoint: route.endpoint, folder, scratch, authority };
  const { argv, env } = await tool.command(task);
  const figures = await measure(place, { argv, env: { ...env, ...scenario.env } }, route.prefix);
  const bytes = tool.fetches ? await bytesIn(folder) : set.bytes;
  if (bytes < set.bytes) throw new Error(`${tool.name} left ${bytes} of ${set.bytes} bytes in ${folder}`);
  return figures;
}

/**
 * Many files get a new folder each time, and stay to the end: ext4 passes over inodes of files that were deleted in the
 * last few seconds one by one, which made the next tool's files ten times as expensive to create.
 */
async function outputFolder(place: Workplace, set: MadeSet): Promise<string> {
  return set.files.length < MANY ? join(place.folder, "output") : mkdtemp(join(place.folder, "output-"));
}
const MANY = 1000;

function inWords({ wall, cpu, rssMib }: Figures): string {
  return `${wall.toFixed(3)} s, ${cpu.toFixed(2)} s CPU, ${rssMib.toFixed(0)} MiB`;
}

function rounded({ wall, cpu, rssMib }: Figures): Figures {
  const to = (value: number, digits: number) => Number(value.toFixed(digits));
  return { wall: to(wall, 4), cpu: to(cpu, 2), rssMib: to(rssMib, 1) };
}
