import { missingBytes } from "../fetch/missing-bytes.ts";
import { openFetch } from "../fetch/open-fetch.ts";
import { bytes } from "../fetch/progress-log.ts";
import type { Hardware } from "../hardware.ts";
import { detect, engineStarts, openCatalog, selectFor } from "../plan.ts";
import type { Selection } from "../select/select-models.ts";
import { diskSpace } from "../system.ts";
import { print, table } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";
import { targetType } from "./targets.ts";

/** `muster plan [type|model…]`: what would run here and what would be fetched, without a byte of weights. */
export async function plan(names: string[], options: GlobalOptions): Promise<number> {
  const { config, log } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const catalog = await openCatalog(config);
  const type = targetType(names, catalog, config.workerType);
  await using fetching = await openFetch(config, log);
  const hardware = await detect(config);
  const context = { config, hardware, sources: fetching, log };
  const selection = await selectFor(type, context, catalog);
  const engines = (await engineStarts(selection, context)).map(({ engine, command, variables, notices }) => ({
    engine,
    command,
    environment: variables,
    notices,
  }));
  const models = await Promise.all(
    selection.models.map(async (spec) => {
      const amounts = await missingBytes(spec.variant, fetching);
      const { id, required, license, gated, context, slots, reason } = spec;
      const gpus = spec.gpus.flatMap((position) => hardware.gpus[position]?.index ?? []);
      const { source, location, revision, format, quantization, engine } = spec.variant;
      const variant = { id: spec.variant.id, source, location, revision, format, quantization, engine };
      return {
        id,
        required,
        license,
        gated,
        variant: variant.id,
        source,
        location,
        engine,
        quantization,
        context,
        slots,
        gpus,
        gpuMemoryShare: spec.share.gpuMemory,
        sequences: spec.share.sequences,
        adapterOf: spec.adapterOf,
        ...amounts,
        reason,
      };
    }),
  );
  const { free, size } = await diskSpace(config.modelCacheDir);
  const needBytes = models.reduce((sum, model) => sum + (model.bytesMissing ?? 0), 0);
  const disk = {
    path: config.modelCacheDir,
    freeBytes: free,
    sizeBytes: size,
    needBytes,
    freeAfterBytes: free - needBytes,
  };
  const { gpus, cpu, memory, driverVersion, runtimeVersion, gpuVendor, warnings } = hardware;
  const data = {
    workerType: selection.workerType.id,
    hardware: { gpus, gpuVendor, driverVersion, runtimeVersion, cpu, memory, warnings },
    models,
    engines,
    refused: selection.refused,
    notices: selection.notices,
    disk,
  };
  print(data, options, () => describePlan(data, selection, hardware));
  return 0;
}

interface PlanData {
  models: {
    id: string;
    required: boolean;
    variant: string;
    state: string;
    bytesTotal: number | null;
    bytesPresent: number;
    bytesMissing: number | null;
    reason: string;
    context: number | null;
  }[];
  engines: { command: string[]; environment: Record<string, string>; notices: string[] }[];
  disk: { path: string; freeBytes: number; needBytes: number; freeAfterBytes: number };
}

function describePlan(
  { models, engines, disk }: PlanData,
  { workerType, refused, notices }: Selection,
  hardware: Hardware,
): string {
  const gpuLines = hardware.gpus.map(
    ({ index, name, memoryTotalMiB, memoryFreeMiB }) =>
      `  GPU ${index}  ${name}, ${gib(memoryTotalMiB)} of memory, ${gib(memoryFreeMiB)} free`,
  );
  const modelLines = models.flatMap((model) => [
    `  ${model.id}${model.required ? "" : " (optional)"}: ${model.variant}${model.context ? `, ${model.context} tokens` : ""}`,
    `      ${model.state}: ${amount(model.bytesTotal)}, ${bytes(model.bytesPresent)} present, ${amount(model.bytesMissing)} to fetch; ${model.reason}`,
  ]);
  const engineLines = engines.flatMap(({ command, environment, notices }) => [
    `  ${command.map(quoted).join(" ")}`,
    ...Object.entries(environment).map(([name, value]) => `      ${name}=${quoted(value)}`),
    ...notices.map((notice) => `      (${notice})`),
  ]);
  const refusedLines = refused.map(({ model, variant, reason }) => `  ${model} as ${variant}: ${reason}`);
  const sections = [
    `Hardware\n${[...gpuLines, `  ${hardware.cpu.cores} CPU cores (${hardware.cpu.model}), ${(hardware.memory.totalBytes / 2 ** 30).toFixed(1)} GiB of memory`].join("\n")}`,
    ...(hardware.warnings.length > 0 ? [`Found odd\n${hardware.warnings.map((line) => `  ${line}`).join("\n")}`] : []),
    `Worker type\n  ${workerType.id}${notices.map((line) => `\n  ${line}`).join("")}`,
    `Models\n${modelLines.join("\n") || "  none"}`,
    ...(engineLines.length > 0 ? [`Engines, as muster start -- would run them\n${engineLines.join("\n")}`] : []),
    ...(refusedLines.length > 0 ? [`Not taken\n${refusedLines.join("\n")}`] : []),
    `Disk ${disk.path}\n${table([
      ["  free now", bytes(disk.freeBytes)],
      ["  to fetch", bytes(disk.needBytes)],
      ["  free after", bytes(Math.max(0, disk.freeAfterBytes))],
    ])}`,
  ];
  return sections.join("\n\n");
}

function amount(count: number | null): string {
  return count === null ? "size not known" : bytes(count);
}

function gib(mib: number | null): string {
  return mib === null ? "unknown" : `${(mib / 1024).toFixed(1)} GiB`;
}

/** As a shell takes it. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
