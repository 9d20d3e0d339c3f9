import { BUSY } from "../jobs/busy.ts";
import { muster, musterUnverified } from "../tools/muster.ts";
import { checkGoals, type Goal } from "./goals.ts";
import { median, mediansOf } from "./medians.ts";
import type {
  AgentResult,
  FleetResult,
  FleetRound,
  GatewaysResult,
  GatewaysRound,
  ImagesResult,
  ImagesRound,
  JobsResult,
  JobsRound,
  Origin,
  Results,
  ScenarioResult,
} from "./results.ts";

/** docs/benchmarks.md, from the figures. */
export function toDocument(results: Results): string {
  const sections = [
    `# Benchmarks

Written by \`npm run bench\`, \`npm run bench:jobs\`, \`npm run bench:fleet\`, \`npm run bench:gateways\` and
\`npm run bench:images\` from \`docs/benchmarks.json\`. The bench makes its data and its hub (nginx
with one worker process, on loopback, the files in the page cache), so client and server share the cores. Tools take turns
within a round; each run starts with an empty folder and a synced disk. Figures are medians of the rounds: wall seconds from
exec to exit, CPU seconds (user and system) and peak memory of the whole process by GNU time. Quote the ratios: machines differ.

${results.machine}`,
    goalTable(checkGoals(results)),
    ...results.scenarios.map(scenarioTable),
    ...(results.agent ? [agentTable(results.agent)] : []),
    ...(results.jobs ? [jobsTable(results.jobs)] : []),
    ...(results.fleet ? [fleetTable(results.fleet)] : []),
    ...(results.gateways ? [gatewaysTable(results.gateways)] : []),
    ...(results.images ? [imagesTable(results.images)] : []),
  ];
  return `${sections.join("\n\n")}\n`;
}

function goalTable(goals: Goal[]): string {
  const rows = goals.map((goal) => `| ${cell(goal.what)} | ≤ ${withUnit(goal, goal.atMost)} | ${verdict(goal)} |`);
  return `## Goals

muster's figure as a share of the other tool's, where no unit is given. muster verifies every SHA-256 and syncs what it has
fetched, except where hashing is said to be off.

| what | goal | measured | |
| --- | --- | --- | --- |
${rows.join("\n")}`;
}

function verdict(goal: Goal): string {
  if (goal.measured === null) return "not measured | ";
  return `${withUnit(goal, goal.measured)} | ${goal.measured <= goal.atMost ? "met" : "**not met**"}`;
}

function withUnit({ unit }: Goal, value: number): string {
  return unit === "" ? value.toFixed(2) : `${value.toFixed(0)} ${unit}`;
}

function scenarioTable(scenario: ScenarioResult): string {
  const medians = mediansOf(scenario);
  const subject = medians.get(muster.name) ?? medians.get(musterUnverified.name);
  // Milliseconds matter where all is there already.
  const digits = scenario.name === "warm" ? 3 : 2;
  const rows = [...medians].map(([tool, { wall, cpu, rssMib }]) => {
    const share = subject ? (subject.wall / wall).toFixed(2) : "";
    return `| ${cell(tool)} | ${wall.toFixed(digits)} | ${cpu.toFixed(2)} | ${rssMib.toFixed(0)} | ${share} |`;
  });
  const left = scenario.missing.map(({ tool, why }) => `\n\nLeft out: ${tool}, for ${why}.`);
  return `## ${scenario.title}

${scenario.about} ${takenAt(scenario, scenario.rounds)}

| what | wall, s | CPU, s | peak RSS, MiB | muster's wall as a share |
| --- | --- | --- | --- | --- |
${rows.join("\n")}${left.join("")}`;
}

function agentTable(agent: AgentResult): string {
  return `## The agent

Everything is on the volume; the coordinator is on the same machine. ${takenAt(agent, agent.starts.length)}

| what | |
| --- | --- |
| warm start, from exec to registered | ${median(agent.starts.map(({ registeredMs }) => registeredMs)).toFixed(0)} ms |
| RSS at rest, 10 s after | ${agent.rssMib.toFixed(0)} MiB |`;
}

function jobsTable({ rounds, ...origin }: JobsResult): string {
  const rows = jobsRows(rounds).map(
    ({ what, measured, unit, digits, goal }) => `| ${what} | ${measured.toFixed(digits)} ${unit} | ${goal} |`,
  );
  return `## Jobs

An engine that takes no time, asked directly and through a worker over a real WebSocket; the engine and a coordinator that
only offers and acknowledges run on the same cores. ${takenAt(origin, rounds.length)}

| what | measured | goal |
| --- | --- | --- |
${rows.join("\n")}`;
}

function jobsRows(rounds: readonly JobsRound[]) {
  const of = (key: keyof JobsRound) => median(rounds.map((round) => round[key]));
  const busy = `${BUSY.streams} streams of ${BUSY.perSecond} pieces a second and a download at full speed`;
  const beats = `lateness of beats beside ${busy}`;
  return [
    { what: "added to a job, p50", measured: of("overheadMsPerJob"), unit: "ms", digits: 2, goal: "≤ 2 ms" },
    { what: "added to a piece", measured: of("overheadMsPerChunk"), unit: "ms", digits: 3, goal: "≤ 0.15 ms" },
    { what: "small jobs, 64 at once", measured: of("jobsPerSecond"), unit: "a second", digits: 0, goal: "≥ 1500" },
    { what: `${beats}, p99`, measured: of("beatLatenessP99Ms"), unit: "ms", digits: 0, goal: "≤ 250 ms" },
    { what: "the same, p50", measured: of("beatLatenessP50Ms"), unit: "ms", digits: 0, goal: "" },
    { what: "that download", measured: of("downloadMibPerSecond"), unit: "MiB/s", digits: 0, goal: "" },
    { what: "peak RSS of all that", measured: of("peakRssMib"), unit: "MiB", digits: 0, goal: "" },
  ];
}

function imagesTable({ rounds, layerBytes, fetchingRssMib, ...origin }: ImagesResult): string {
  const of = (key: keyof ImagesRound) => median(rounds.map((round) => round[key])).toFixed(0);
  return `## The image

Of the CPU worker, under podman with the host's network; all is on the volume, and the coordinator is on the same machine. ${takenAt(origin, rounds.length)}

| what | measured | goal |
| --- | --- | --- |
| layer of the agent, with Node.js | ${(layerBytes / 1e6).toFixed(0)} MB | ≤ 130 MB |
| \`podman run\` of a command that does nothing, to its end | ${of("emptyMs")} ms | |
| \`podman run\` to /livez | ${of("livezMs")} ms | |
| \`podman run\` to registered | ${of("registeredMs")} ms | |
| RSS at rest, 10 s after | ${of("restRssMib")} MiB | |
| peak RSS of a sync of 2 GiB, in a container of 512 MiB | ${fetchingRssMib} MiB | ≤ 130 MiB |
| SIGTERM to the container's end | ${of("stopMs")} ms | |`;
}

function fleetTable({ workers, rounds, ...origin }: FleetResult): string {
  const of = (key: keyof FleetRound) => median(rounds.map((round) => round[key]));
  return `## The coordinator with a fleet

${workers} workers, each with a WebSocket of its own and a beat every 10 s, simulated by one process on the same cores; jobs come by
\`POST /v1/chat/completions\` and are kept in SQLite. ${takenAt(origin, rounds.length)}

| what | measured | goal |
| --- | --- | --- |
| CPU while they beat | ${(100 * of("cpuShare")).toFixed(1)} % of a core | ≤ 15 % |
| RSS of the coordinator for each | ${of("rssKibPerWorker").toFixed(1)} KiB | ≤ 25 KiB |
| from request to answer, p50 | ${of("dispatchP50Ms").toFixed(2)} ms | ≤ 3 ms |
| from request to answer, p99 | ${of("dispatchP99Ms").toFixed(2)} ms | ≤ 20 ms |
| jobs, 64 at once | ${of("jobsPerSecond").toFixed(0)} a second | |`;
}

function gatewaysTable({ server, workers, rounds, ...origin }: GatewaysResult): string {
  type Key = keyof GatewaysRound["one"];
  const row = (what: string, key: Key, { digits, unit }: { digits: number; unit: string }) => {
    const of = (which: keyof GatewaysRound) => median(rounds.map((round) => round[which][key])).toFixed(digits);
    const ratio = median(rounds.map(({ one, two }) => two[key] / one[key])).toFixed(2);
    return `| ${what} | ${of("one")} ${unit} | ${of("two")} ${unit} | ${ratio} |`;
  };
  const ms = { digits: 2, unit: "ms" };
  return `## Two gateways against one

${workers} workers spread over gateways that share ${server}, all on the same cores; jobs come by \`POST /v1/chat/completions\` to each
gateway in turn. One and two take turns within a round; the ratio is the median of those of the rounds. ${takenAt(origin, rounds.length)}

| what | one gateway | two gateways | two as a share of one |
| --- | --- | --- | --- |
${row("jobs, 64 at once", "jobsPerSecond", { digits: 0, unit: "a second" })}
${row("from request to answer, p50", "dispatchP50Ms", ms)}
${row("from request to answer, p99", "dispatchP99Ms", ms)}`;
}

/** Names of tools may be shell lines. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

function takenAt({ date, commit }: Origin, rounds: number): string {
  return `(${rounds} ${rounds === 1 ? "round" : "rounds"}, ${date}, commit ${commit}.)`;
}
