import { muster, musterUnverified } from "../tools/muster.ts";
import { checkGoals, type Goal } from "./goals.ts";
import { median, mediansOf } from "./medians.ts";
import type { AgentResult, Origin, Results, ScenarioResult } from "./results.ts";

/** docs/benchmarks.md, from the figures. */
export function toDocument(results: Results): string {
  const sections = [
    `# Benchmarks

Written by \`npm run bench\` (\`scripts/bench/fetch.ts\`) from \`docs/benchmarks.json\`. The bench makes its data and its hub (nginx
with one worker process, on loopback, the files in the page cache), so client and server share the cores. Tools take turns
within a round; each run starts with an empty folder and a synced disk. Figures are medians of the rounds: wall seconds from
exec to exit, CPU seconds (user and system) and peak memory of the whole process by GNU time. Quote the ratios: machines differ.

${results.machine}`,
    goalTable(checkGoals(results)),
    ...results.scenarios.map(scenarioTable),
    ...(results.agent ? [agentTable(results.agent)] : []),
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

/** Names of tools may be shell lines. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

function takenAt({ date, commit }: Origin, rounds: number): string {
  return `(${rounds} ${rounds === 1 ? "round" : "rounds"}, ${date}, commit ${commit}.)`;
}
