import { JOB_KINDS } from "../model.ts";
import { askSocket, type JobsView } from "./agent-socket.ts";
import { print, table } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";

/** `muster jobs`: what the running agent works on, and how much more it would take. */
export async function jobs(options: GlobalOptions): Promise<number> {
  const { config } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const view = await askSocket<JobsView>(config, "GET", "/jobs");
  print(view, options, () => describe(view));
  return 0;
}

function describe({ state, slots, slotsFree, jobs: running }: JobsView): string {
  const offered = JOB_KINDS.filter((kind) => slots[kind] !== undefined);
  const free = offered.map((kind) => `${kind} ${slotsFree[kind] ?? 0} of ${slots[kind]}`).join(", ");
  const rows = running.map(({ jobId, attempt, kind, model, startedAt, chunks }) => [
    `  ${jobId}`,
    attempt > 1 ? `attempt ${attempt}` : "",
    kind,
    model,
    `${Math.round((Date.now() - Date.parse(startedAt)) / 1000)} s`,
    chunks > 0 ? `${chunks} pieces` : "",
  ]);
  return [`state  ${state}`, `free   ${free || "no slots"}`, "jobs", table(rows) || "  none"].join("\n");
}
