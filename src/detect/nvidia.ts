import { join } from "node:path";
import type { Gpu } from "../hardware.ts";
import { readMachineMemory } from "./meminfo.ts";
import { type MigListing, parseMigList } from "./mig-list.ts";
import { explainNvidiaFailure } from "./nvidia-failure.ts";
import { toNvidiaUnits } from "./nvidia-units.ts";
import type { NvidiaReport } from "./nvidia-xml.ts";
import type { ProbeContext, VendorReport } from "./probe.ts";
import { readText } from "./read-text.ts";
import { runTool } from "./run-tool.ts";
import { visibleNvidiaUnits } from "./visible-devices.ts";

/** NVIDIA's GPUs by `nvidia-smi -q -x`, with MIG devices in their board's place, narrowed to what is visible. */
export async function detectNvidia(context: ProbeContext): Promise<VendorReport> {
  const { report, warnings } = await askDriver(context);
  if (report === null) return { vendor: "nvidia", gpus: [], driverVersion: null, runtimeVersion: null, warnings };

  const listed = await listMigDevices(report, context, warnings);
  const shown = toNvidiaUnits(report.boards, await readMachineMemory(context.roots.proc), listed);
  const visible = visibleNvidiaUnits(shown.units, context.env);
  const prohibited = visible.units.filter((unit) => unit.prohibited).map(({ gpu }) => describeProhibited(gpu));
  return {
    vendor: "nvidia",
    gpus: visible.units.filter((unit) => !unit.prohibited).map((unit) => unit.gpu),
    driverVersion: report.driverVersion,
    runtimeVersion: report.cudaVersion,
    warnings: [...warnings, ...shown.warnings, ...visible.warnings, ...prohibited],
  };
}

function describeProhibited({ index, name }: Gpu): string {
  return `GPU ${index} (${name}) is in compute mode Prohibited and left out; on the host: nvidia-smi -i ${index} -c DEFAULT.`;
}

async function askDriver(context: ProbeContext): Promise<{ report: NvidiaReport | null; warnings: string[] }> {
  const { tools, signal } = context;
  const result = await runTool("nvidia-smi", ["-q", "-x"], { ...tools, signal });
  if (!result.ok) {
    const { failure } = result;
    if (failure.kind === "missing" && !(await hasDriver(context))) return { report: null, warnings: [] };
    // With a broken GPU among sound ones it exits with an error after a complete report.
    const report = failure.kind === "failed" ? await parse(failure.stdout) : null;
    return { report, warnings: [explainNvidiaFailure(failure)] };
  }

  const { stdout } = result;
  const report = await parse(stdout);
  if (report !== null && report.boards.length > 0) return { report, warnings: [] };
  // Drivers differ in the exit code that goes with "No devices were found"; 6 is the documented one.
  const exitCode = report === null ? 0 : 6;
  const warning = explainNvidiaFailure({ kind: "failed", exitCode, stdout, stderr: "" });
  return { report, warnings: [warning] };
}

/** The parser loads where there is something to parse. */
async function parse(xml: string): Promise<NvidiaReport | null> {
  const { parseNvidiaXml } = await import("./nvidia-xml.ts");
  return parseNvidiaXml(xml);
}

/** Whether the machine has an NVIDIA driver; /proc/driver is the host's in a container as well. */
async function hasDriver({ roots }: ProbeContext): Promise<boolean> {
  return (await readText(join(roots.proc, "driver/nvidia/version"))) !== null;
}

async function listMigDevices(report: NvidiaReport, context: ProbeContext, warnings: string[]): Promise<MigListing[]> {
  const nameless = report.boards.some((board) => board.migDevices.some((device) => device.uuid === null));
  if (!nameless) return [];
  const { tools, signal } = context;
  const result = await runTool("nvidia-smi", ["-L"], { ...tools, signal });
  const listed = result.ok ? parseMigList(result.stdout) : [];
  if (listed.length === 0) {
    warnings.push(
      "nvidia-smi -L does not tell the UUIDs of the MIG devices; they are named by their instance numbers.",
    );
  }
  return listed;
}
