import { stat } from "node:fs/promises";
import { MusterError } from "../../errors.ts";
import { retry } from "../../retry.ts";
import type { LocalFile } from "./create-files.ts";
import type { CreateEvent, CreateServer } from "./create-server.ts";

export interface CreateOptions {
  model: string;
  quantize: string | null;
  /** Reads a file for its sha256, hex. */
  digest: (file: LocalFile) => Promise<string>;
  onPlan: (plan: { bytes: number; missingBytes: number; missingFiles: number }) => void;
  onBytes: (count: number) => void;
  onNote: (message: string) => void;
  /** Everything is there, and the server makes the model. */
  onEvent: (event: CreateEvent) => void;
  retries: number;
  signal: AbortSignal;
}

export interface CreateOutcome {
  files: number;
  bytes: number;
  sentFiles: number;
  sentBytes: number;
}

/**
 * Has a server make a model of these files: sends those that it does not have, each known by its digest, so that a run
 * after an interrupted one goes on with the file that was under way. Throws MusterError.
 */
export async function createModel(
  files: readonly LocalFile[],
  server: CreateServer,
  options: CreateOptions,
): Promise<CreateOutcome> {
  const { model, quantize, signal } = options;
  const digests = new Map<LocalFile, string>();
  for (const file of files) {
    signal.throwIfAborted();
    digests.set(file, `sha256:${file.sha256 ?? (await options.digest(file))}`);
  }
  const digestOf = (file: LocalFile) => digests.get(file) ?? "";
  // One content under several names is sent once.
  const distinct = [...new Map(files.map((file) => [digestOf(file), file])).values()];
  const missing: LocalFile[] = [];
  for (const file of distinct)
    if (!(await again(() => server.has(digestOf(file), signal), options))) missing.push(file);
  const bytes = sum(distinct);
  const missingBytes = sum(missing);
  options.onPlan({ bytes, missingBytes, missingFiles: missing.length });
  for (const file of missing) await send(file, digestOf(file), server, options);
  const named = Object.fromEntries(files.map((file) => [file.path, digestOf(file)]));
  await server.create({ model, files: named, quantize }, options.onEvent, signal);
  return { files: files.length, bytes, sentFiles: missing.length, sentBytes: missingBytes };
}

async function send(file: LocalFile, digest: string, server: CreateServer, options: CreateOptions): Promise<void> {
  const { signal, onBytes } = options;
  let isFirst = true;
  await again(async () => {
    // An answer may have been lost, and not the file.
    const isThere = !isFirst && (await server.has(digest, signal));
    isFirst = false;
    if (isThere) return onBytes(file.size);
    const { size } = await stat(file.place);
    if (size !== file.size) throw changed(file);
    let sent = 0;
    const count = (more: number) => {
      sent += more;
      onBytes(more);
    };
    try {
      await server.upload(digest, file, { onBytes: count, signal });
    } catch (error) {
      onBytes(-sent);
      throw error;
    }
  }, options);
}

function again<T>(work: () => Promise<T>, { retries, signal, onNote }: CreateOptions): Promise<T> {
  return retry(work, {
    ...{ retries, signal, minDelayMs: 500, maxDelayMs: 15_000 },
    onRetry: (error, delay) => onNote(`${error.message} Trying again in ${(delay / 1000).toFixed(1)} s`),
  });
}

function changed({ place }: LocalFile): MusterError {
  return new MusterError("STORE_CHANGED", `${place} changed while it was sent.`, {
    hint: "Wait until whoever writes it is done, then run it again.",
  });
}

function sum(files: readonly LocalFile[]): number {
  return files.reduce((total, { size }) => total + size, 0);
}
