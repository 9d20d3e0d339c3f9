import { bytes, timeLeft } from "../fetch/progress-log.ts";
import { readiness } from "../http/readiness.ts";
import type { AgentStatus, SupervisedStatus } from "../status.ts";
import { askAgent } from "./agent-http.ts";
import { print, table } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";
import { when } from "./volume-words.ts";

/** `muster status`: what the running agent is doing. */
export async function status(options: GlobalOptions): Promise<number> {
  const { config } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const body = (await askAgent(config, "/status")).body as AgentStatus;
  print(body, options, () => describe(body));
  return 0;
}

function describe(agent: AgentStatus): string {
  const { ready, reasons } = readiness(agent, Date.now());
  const { coordinator } = agent;
  const link = coordinator
    ? `${coordinator.url}, ${coordinator.connected ? `registered (session ${coordinator.sessionId})` : `not connected: ${coordinator.error ?? "connecting"}`}`
    : "none";
  const rows = agent.models.map(({ id, state, required, bytesDone, bytesTotal, rate, error }) => [
    `  ${id}`,
    state,
    required ? "required" : "optional",
    `${bytes(bytesDone)} of ${bytes(bytesTotal)}`,
    error
      ? `${error.code}: ${error.message} ${error.hint}`
      : rate > 0
        ? `${bytes(rate)}/s, ${timeLeft((bytesTotal - bytesDone) / rate)} left`
        : "",
  ]);
  return [
    `worker       ${agent.workerId} (${agent.workerType}), muster ${agent.version}, since ${agent.startedAt}`,
    `state        ${agent.state}${ready ? "" : `; not ready: ${reasons.join("; ")}`}`,
    `coordinator  ${link}`,
    ...agent.engines.map(
      ({ kind, url, reachable, version }) =>
        `engine       ${kind} at ${url}, ${reachable ? `there ${version ?? ""}` : "not reachable"}`,
    ),
    ...(agent.volume ? [`volume       ${volumeLine(agent.volume)}`] : []),
    ...(agent.supervised ? [`supervised   ${supervised(agent.supervised)}`] : []),
    "models",
    table(rows) || "  none",
  ].join("\n");
}

function volumeLine({ modelBytes, freeBytes, sizeBytes, models, scrub }: NonNullable<AgentStatus["volume"]>): string {
  const amounts = `${models} models, ${bytes(modelBytes)} taken, ${bytes(freeBytes)} of ${bytes(sizeBytes)} free`;
  if (!scrub) return amounts;
  const wrong =
    scrub.wrongFiles > 0 ? `, ${scrub.wrongFiles} files WRONG: run \`muster verify --repair\`` : ", nothing wrong";
  const at = scrub.finishedAt
    ? `scrubbed ${when(scrub.finishedAt)}`
    : `scrub since ${when(scrub.startedAt)}, ${bytes(scrub.checkedBytes)} read`;
  return `${amounts}; ${at}${wrong}`;
}

function supervised({ program, starts, running, error }: SupervisedStatus): string {
  const times = starts === 1 ? "" : `, started ${starts} times`;
  return `${program}, ${running ? "runs" : "waits to be started again"}${times}${error ? `; ${error.message}` : ""}`;
}
