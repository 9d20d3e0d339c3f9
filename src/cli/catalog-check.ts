import { resolve } from "node:path";
import { EXIT } from "../errors.ts";
import { fieldName } from "../select/catalog-error.ts";
import { readCatalogFiles } from "../select/catalog-file.ts";
import { catalogFindings, type PlacedFinding } from "../select/catalog-findings.ts";
import { type SmallestMachine, smallestMachine } from "../select/smallest-machine.ts";
import { linkCatalog, type WorkerType } from "../select/worker-types.ts";
import { print, table } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";

export interface CheckOptions extends GlobalOptions {
  /** Warnings fail, too. */
  strict?: boolean;
}

/** `muster catalog check [FILE]`: whether a catalog is right, and what in it can never work or is odd. Asks nobody. */
export async function catalogCheck(given: string | undefined, options: CheckOptions): Promise<number> {
  const { config } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const files = given
    ? await readCatalogFiles(resolve(given), null)
    : await readCatalogFiles(config.catalogFile, config.catalogOverlay);
  const findings = await catalogFindings(files, config.contentPolicy);
  const catalog = linkCatalog(files);
  const machines = [...catalog.workerTypes.values()].map((type) => ({ type, machine: smallestMachine(type) }));
  const failed = findings.some(({ level }) => level === "fail" || options.strict);
  const data = {
    ok: !failed,
    files: files.map(({ file }) => file),
    models: catalog.models.size,
    workerTypes: machines.map(({ type: { id, gpu }, machine }) => ({ id, gpu, smallestMachine: machine })),
    findings: findings.map(({ path, ...rest }) => ({ ...rest, path: fieldName(path) })),
  };
  print(data, options, () =>
    [
      ...findings.map(inWords),
      `${data.files.join(" with ")}: ${data.models} models, ${machines.length} worker types; ${verdict(findings)}`,
      table([
        ["WORKER TYPE", "NEEDS AT LEAST"],
        ...machines.map(({ type, machine }) => [type.id, needs(type, machine)]),
      ]),
    ].join("\n"),
  );
  return failed ? EXIT.failed : EXIT.ok;
}

function inWords({ level, file, line, path, found, hint }: PlacedFinding): string {
  return `${level.padEnd(5)}${file}:${line}: ${fieldName(path)}: ${found}\n     → ${hint}`;
}

function verdict(findings: readonly PlacedFinding[]): string {
  const count = (level: PlacedFinding["level"]) => findings.filter((finding) => finding.level === level).length;
  if (findings.length === 0) return "nothing is wrong";
  return [`${count("fail")} wrong`, `${count("warn")} odd`].filter((text) => !text.startsWith("0 ")).join(", ");
}

/** What a worker type's required models need, by the catalog's word. */
export function needs(type: WorkerType, machine: SmallestMachine | null): string {
  if (!machine) return type.models.every(({ optional }) => optional) ? "nothing: all is optional" : "no card";
  if ("reason" in machine) return "more than there is";
  const { gpuMemoryGb, gpuCount } = machine;
  return gpuCount === 1 ? `a card of ${gpuMemoryGb} GB` : `${gpuCount} cards of ${gpuMemoryGb} GB`;
}
