import { BUILT_IN_CATALOG } from "../config.ts";
import { EXIT, MusterError } from "../errors.ts";
import { openFetch } from "../fetch/open-fetch.ts";
import { mergedEntries } from "../select/catalog-file.ts";
import { addModel, addToType, type Edit } from "../select/edit-catalog.ts";
import { findWorkerType, linkCatalog } from "../select/worker-types.ts";
import { changeCatalog, type OpenedCatalog, openFiles, refuseBuiltIn } from "./change-catalog.ts";
import { confirm } from "./confirm.ts";
import { print } from "./output.ts";
import { type Proposal, type ProposeOptions, proposalInWords, propose, proposedFile } from "./propose-model.ts";
import { type GlobalOptions, setup } from "./setup.ts";

export interface AddOptions extends GlobalOptions, ProposeOptions {
  as?: string[];
  type?: string[];
  /** In the worker types. */
  optional?: boolean;
  write?: boolean;
  yes?: boolean;
  dryRun?: boolean;
}

/** `muster catalog add REF…`: finds out what a catalog says of a model, and prints the entry, or writes it. */
export async function catalogAdd(references: string[], options: AddOptions): Promise<number> {
  const { config, log } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const stop = new AbortController();
  process.once("SIGTERM", () => stop.abort());
  process.once("SIGINT", () => stop.abort());
  const { as: ids = [], type: types = [] } = options;
  if (ids.length > references.length) {
    throw new MusterError("USAGE", `There are ${ids.length} names for ${references.length} models.`, {
      hint: "Give --as once for each model, in their order.",
    });
  }
  const opened = await openFiles(config);
  const { own, files } = opened;
  const catalog = linkCatalog(files);
  for (const type of types) findWorkerType(catalog, type, "--type");
  const mayWrite = Boolean(options.write || options.yes) && !options.dryRun;
  if (mayWrite) refuseBuiltIn(own);
  await using fetching = await openFetch(config, log, stop.signal);
  const proposals: Proposal[] = [];
  for (const [index, reference] of references.entries()) {
    const proposal = await propose(reference, ids[index], { ...options, fetching });
    refuseTaken(proposal.id, [...Object.keys(mergedEntries(files).models), ...proposals.map(({ id }) => id)]);
    proposals.push(proposal);
  }
  const written = { file: own.file, written: false };
  const write = async () => {
    const edits = (now: OpenedCatalog) => {
      for (const { id } of proposals) refuseTaken(id, Object.keys(mergedEntries(now.files).models));
      return [
        ...proposals.map(({ id, entry }) => addModel(id, entry)),
        ...types.flatMap((type) => typeEdits(type, proposals, now, options.optional ?? false)),
      ];
    };
    await changeCatalog(config, own.file, edits, stop.signal);
    written.written = true;
  };
  if (mayWrite) await write();
  if (!options.json) for (const proposal of proposals) process.stderr.write(`${proposalInWords(proposal)}\n`);
  const data = { ...written, workerTypes: types, models: proposals };
  print(data, options, () => JSON.stringify(proposedFile(proposals), null, 2));
  if (options.json) return EXIT.ok;
  const mayAsk = !mayWrite && !options.dryRun && own.file !== BUILT_IN_CATALOG;
  if (mayAsk && process.stdout.isTTY && process.stdin.isTTY) {
    if (!(await confirm(`Add this to ${own.file}?`, { ...options, done: "added" }))) return EXIT.ok;
    await write();
  }
  process.stderr.write(`${outcome(written, proposals, types)}\n`);
  return EXIT.ok;
}

function refuseTaken(id: string, taken: readonly string[]): void {
  if (!taken.includes(id)) return;
  throw new MusterError("USAGE", `There is a model ${JSON.stringify(id)} in the catalog already.`, {
    hint: `\`muster catalog show ${id}\` shows it; give the new one another name with --as, or \`muster catalog remove ${id}\` first.`,
  });
}

/** An overlay has worker types whole: what the catalog before it says of one is taken along. */
function typeEdits(
  type: string,
  proposals: readonly Proposal[],
  { files, own }: OpenedCatalog,
  optional: boolean,
): Edit[] {
  const edits = proposals.map(({ id }) => addToType(type, id, { optional }));
  if (Object.hasOwn(own.value.workerTypes ?? {}, type)) return edits;
  const before = files.findLast(({ value }) => Object.hasOwn(value.workerTypes ?? {}, type));
  const { workerTypes } = JSON.parse(before?.text ?? "{}") as { workerTypes?: Record<string, unknown> };
  return [{ path: ["workerTypes", type], value: workerTypes?.[type] }, ...edits];
}

function outcome(
  { file, written }: { file: string; written: boolean },
  proposals: readonly Proposal[],
  types: string[],
) {
  const names = proposals.map(({ id }) => id).join(", ");
  const to = types.length > 0 ? `, for ${types.join(", ")}` : "";
  if (!written) return `Nothing is written; --write adds ${names} to ${file}${to}`;
  return `Added ${names} to ${file}${to}; \`muster plan ${proposals[0]?.id}\` shows where it goes`;
}
