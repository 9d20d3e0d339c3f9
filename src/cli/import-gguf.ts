import type { Config } from "../config.ts";
import { judgeLicense } from "../content-policy.ts";
import { EXIT, MusterError } from "../errors.ts";
import type { LocalFile } from "../fetch/create/create-files.ts";
import { type CreateOutcome, createModel } from "../fetch/create/create-model.ts";
import { type CreateServer, createServer } from "../fetch/create/create-server.ts";
import { type LocalModel, localModel } from "../fetch/create/local-files.ts";
import { openFetch } from "../fetch/open-fetch.ts";
import { bytes } from "../fetch/progress-log.ts";
import type { SyncContext } from "../fetch/sync-context.ts";
import type { Logger } from "../log.ts";
import { fullName, NAME_FORM, readOllamaName } from "../store/ollama-name.ts";
import { confirm } from "./confirm.ts";
import { followSteps } from "./create-steps.ts";
import { type FetchedModel, fetchModel, plannedModel } from "./fetch-for-import.ts";
import { print } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";
import { showWork } from "./work-progress.ts";

export interface ImportOptions extends GlobalOptions {
  as: string;
  quantize?: string;
  /** Which GGUF of a repository or folder that has several. */
  gguf?: string;
  license?: string;
  dryRun?: boolean;
  yes?: boolean;
}

const RETRIES = 4;
/** Bytes that take long enough to read. */
const WORTH_A_WORD = 1e6;

/** `muster import-gguf REPO-or-FILE --as NAME`: has an Ollama server make a model of GGUF files or safetensors. */
export async function importGguf(source: string, options: ImportOptions): Promise<number> {
  const bars = process.stderr.isTTY && !options.json;
  const { config, log } = setup({ logTo: options.json || bars ? "stderr" : "stdout", logFile: true, quiet: bars });
  const stop = new AbortController();
  process.once("SIGTERM", () => stop.abort());
  process.once("SIGINT", () => stop.abort());
  const { signal } = stop;
  const terminal = bars ? process.stderr : null;
  await using server = serverOf(config, options.as);
  await using fetching = await openFetch(config, log, signal);
  const { quantize = null, gguf: quantization = null, dryRun = false, license } = options;
  const before = await server.find(options.as, signal);
  const local = await localModel(source, { quantization, contentPolicy: config.contentPolicy, signal });
  if (local) checkLicense(local, license ?? null, { config, log });
  const wanted = { source, quantization, license: license ?? null };
  if (dryRun) {
    const planned = local ? { ...local, fetchBytes: 0 } : await plannedModel(wanted, fetching);
    return tellPlan(planned, { server, before: before !== null, options });
  }
  if (
    before &&
    !(await confirm(`${options.as} is at ${server.name} already. Replace it?`, { ...options, done: "replaced" }))
  )
    return EXIT.ok;
  await using fetched: FetchedModel | null = local
    ? null
    : await fetchModel(wanted, { config, fetching, log, terminal });
  const model = local ?? fetched!.model;
  const { outcome, statuses } = await make(model, server, { options, quantize, fetching, log, terminal, signal });
  const made = await server.find(options.as, signal);
  if (!made) throw notThere(options.as, server);
  await fetching.audit?.note({
    action: "imported",
    model: { key: options.as, source: "ollama", location: options.as, revision: made.digest },
    ...{ files: [], bytes: made.size, from: [model.name], to: server.name },
  });
  const data = {
    ...{ model: options.as, server: server.name, digest: made.digest, bytes: made.size },
    ...{ quantization: made.quantization, source: model.name, replaced: before !== null, statuses, ...outcome },
  };
  print(data, options, () => summary(data));
  return EXIT.ok;
}

function serverOf({ engineUrls }: Config, name: string): CreateServer {
  if (!readOllamaName(name)) {
    throw new MusterError("USAGE", `--as is ${JSON.stringify(name)}, which is not a name that Ollama takes.`, {
      hint: `Give --as a name of the form ${NAME_FORM}.`,
    });
  }
  const wanted = fullName(name);
  if (engineUrls.ollama) return createServer(engineUrls.ollama, (a) => isSame(a, wanted));
  throw new MusterError("USAGE", "OLLAMA_URL is not set, so no server is known that could make the model.", {
    hint: "Set it to the Ollama server: OLLAMA_URL=http://127.0.0.1:11434 muster import-gguf …",
  });
}

function isSame(name: string, wanted: string): boolean {
  try {
    return fullName(name) === wanted;
  } catch {
    return false;
  }
}

/** Repositories are held against the policy by what fetches them. */
function checkLicense(
  { name, license: found }: LocalModel,
  declared: string | null,
  { config: { contentPolicy }, log }: { config: Config; log: Logger },
): void {
  const { refused, notice } = judgeLicense(name, { declared, found }, contentPolicy.licenses);
  if (refused) {
    throw new MusterError("LICENSE_REFUSED", refused.message, {
      hint: `Say its licence with --license, where nothing else does. ${refused.hint}`,
      details: refused.details,
    });
  }
  if (notice) log.warn(notice);
}

interface Making {
  options: ImportOptions;
  quantize: string | null;
  fetching: SyncContext;
  log: Logger;
  terminal: NodeJS.WriteStream | null;
  signal: AbortSignal;
}

async function make(
  model: LocalModel,
  server: CreateServer,
  making: Making,
): Promise<{ outcome: CreateOutcome; statuses: string[] }> {
  const { options, quantize, fetching, log, terminal, signal } = making;
  const name = options.as;
  using sending = showWork({ doing: "Sending", done: "Sent", name }, terminal, log);
  using steps = followSteps(name, log, terminal);
  const outcome = await createModel(model.files, server, {
    ...{ model: name, quantize, retries: RETRIES, signal },
    digest: (file) => digestOf(file, fetching, log),
    onPlan: sending.onPlan,
    onBytes: sending.onBytes,
    onNote: (message) => log.warn(message),
    onEvent(event) {
      sending[Symbol.dispose]();
      steps.onEvent(event);
    },
  });
  return { outcome, statuses: steps.statuses };
}

async function digestOf({ place, size }: LocalFile, { lanes, signal }: SyncContext, log: Logger): Promise<string> {
  if (size >= WORTH_A_WORD) log.info(`Reading ${place} (${bytes(size)}) for its digest`);
  const hex = await lanes.run({ kind: "digest", path: place, size, algorithm: "sha256" }, { signal });
  if (hex !== null) return hex;
  throw new MusterError("FILE_NOT_FOUND", `${place} cannot be read to its end.`, {
    hint: "Check its permissions and the disk: `ls -l`, and `dmesg` on the host.",
  });
}

function tellPlan(
  { name, files, fetchBytes }: { name: string; files: readonly { size: number }[]; fetchBytes: number },
  { server, before, options }: { server: CreateServer; before: boolean; options: ImportOptions },
): number {
  const size = files.reduce((sum, file) => sum + file.size, 0);
  const data = {
    ...{ model: options.as, server: server.name, source: name, files: files.length, bytes: size, fetchBytes },
    ...{ quantize: options.quantize ?? null, replaces: before, dryRun: true },
  };
  print(data, options, () => {
    const first = fetchBytes > 0 ? `fetch ${bytes(fetchBytes)}, ` : "";
    const quantized = options.quantize ? `, quantized to ${options.quantize}` : "";
    const over = before ? ", in place of the one that is there" : "";
    return `Would ${first}send up to ${bytes(size)} in ${files.length} files, and have ${server.name} make ${options.as} of ${name}${quantized}${over}`;
  });
  return EXIT.ok;
}

function notThere(name: string, server: CreateServer): MusterError {
  return new MusterError("SERVER_ERROR", `${server.name} made ${name}, and does not list it.`, {
    hint: "See the log of the Ollama server, and `muster list`.",
  });
}

function summary({
  model,
  server,
  bytes: size,
  quantization,
  sentBytes,
  sentFiles,
  files,
  replaced,
}: {
  model: string;
  server: string;
  bytes: number;
  quantization: string | null;
  sentBytes: number;
  sentFiles: number;
  files: number;
  replaced: boolean;
}): string {
  const what = [bytes(size), quantization].filter(Boolean).join(", ");
  const sent =
    sentFiles === 0 ? "nothing had to be sent" : `${bytes(sentBytes)} sent in ${sentFiles} of ${files} files`;
  return `${server} has ${model} now (${what})${replaced ? ", in place of the one before" : ""}; ${sent}`;
}
