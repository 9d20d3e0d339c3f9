import { readFile } from "node:fs/promises";
import { text as readAll } from "node:stream/consumers";
import { EXIT, MusterError } from "../errors.ts";
import type { JobOutcome } from "../job.ts";
import { type LocalJob, runLocalJob } from "./agent-socket.ts";
import { print, printError } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";

export interface RunOptions extends GlobalOptions {
  model?: string;
  /** Seconds. */
  timeout?: number;
}

/** `muster run chat`: one chat, told as it comes. The prompt is read from standard input where none is given. */
export async function runChat(
  words: string[],
  options: RunOptions & { system?: string; image?: string[]; maxTokens?: number },
): Promise<number> {
  const prompt = await textsOrInput(words);
  const images = await Promise.all((options.image ?? []).map(readBase64));
  const parts = images.map((base64) => ({ type: "image_url", image_url: { url: `data:;base64,${base64}` } }));
  const input = {
    messages: [
      ...(options.system ? [{ role: "system", content: options.system }] : []),
      { role: "user", content: parts.length > 0 ? [...parts, { type: "text", text: prompt }] : prompt },
    ],
    ...(options.maxTokens ? { max_tokens: options.maxTokens } : {}),
  };
  let told = false;
  const outcome = await run({ kind: "chat", input }, options, (chunk) => {
    const { choices } = chunk as { choices?: { delta?: { content?: string | null } }[] };
    const text = choices?.[0]?.delta?.content ?? "";
    told ||= text !== "";
    process.stdout.write(forTerminal(text));
  });
  if (options.json) return printOutcome(outcome);
  const { choices } = outcome.output as { choices: { message: { content?: string | null } }[] };
  process.stdout.write(told ? "\n" : `${forTerminal(choices[0]?.message.content ?? "")}\n`);
  return EXIT.ok;
}

/** `muster run embed`: a vector for each text. */
export async function runEmbed(texts: string[], options: RunOptions): Promise<number> {
  const input = { input: texts.length > 0 ? texts : [await textsOrInput(texts)] };
  const outcome = await run({ kind: "embedding", input }, { ...options, json: true }, () => undefined);
  if (options.json) return printOutcome(outcome);
  const { data } = outcome.output as { data: { embedding: number[] }[] };
  for (const { embedding } of data) process.stdout.write(`${JSON.stringify(embedding)}\n`);
  return EXIT.ok;
}

/** `muster run ocr`: the text of images, each told when it is read. Fails where a page failed, after the others. */
export async function runOcr(
  files: string[],
  { format, prompt, schema, ...options }: RunOptions & { format?: string; prompt?: string; schema?: string },
): Promise<number> {
  const pages = await Promise.all(files.map(readBase64));
  const input = { pages, format, prompt, schema: schema && (await readJson(schema)) };
  let failed = false;
  const outcome = await run({ kind: "ocr", input }, options, (chunk) => {
    const { page, text, data, error } = chunk as { page: number; text?: string; data?: unknown; error?: MusterError };
    failed ||= error !== undefined;
    if (!error) return process.stdout.write(`${forTerminal(text ?? JSON.stringify(data))}\n`);
    const message = `${files[page - 1]}: ${error.message}`;
    printError(new MusterError(error.code, message, { hint: "The other files are read all the same." }), {
      label: "warning",
    });
  });
  if (options.json) {
    printOutcome(outcome);
    failed = (outcome.output as { pages: { error?: object }[] }).pages.some(({ error }) => error !== undefined);
  }
  return failed ? EXIT.failed : EXIT.ok;
}

/** With --json all at once, else in pieces. */
function run(
  job: Pick<LocalJob, "kind" | "input">,
  { json, model, timeout }: RunOptions,
  onChunk: (chunk: unknown) => void,
): Promise<JobOutcome> {
  const { config } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const timeoutMs = timeout === undefined ? undefined : Math.ceil(timeout * 1000);
  return runLocalJob(config, { ...job, model: model ?? null, stream: !json, timeoutMs }, onChunk);
}

function printOutcome({ output, usage, timings }: JobOutcome): number {
  print({ output, usage, timings }, { json: true }, () => "");
  return EXIT.ok;
}

async function textsOrInput(words: string[]): Promise<string> {
  if (words.length > 0 && words.join() !== "-") return words.join(" ");
  if (process.stdin.isTTY) process.stderr.write("Reading from the terminal; end with Ctrl-D.\n");
  return readAll(process.stdin);
}

async function readBase64(file: string): Promise<string> {
  return (await read(file)).toString("base64");
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse((await read(file)).toString());
  } catch (cause) {
    if (cause instanceof MusterError) throw cause;
    throw new MusterError("USAGE", `${file} is not JSON.`, {
      hint: "--schema takes a file with a JSON Schema.",
      cause,
    });
  }
}

function read(file: string): Promise<Buffer> {
  return readFile(file).catch((cause: NodeJS.ErrnoException) => {
    throw new MusterError("USAGE", `${file} cannot be read (${cause.code}).`, {
      hint: "Name a file that is there, inside the container where this runs.",
      cause,
    });
  });
}

/** A model's answer has no business with the terminal's own commands; a pipe gets it as it is. */
function forTerminal(text: string): string {
  return process.stdout.isTTY ? text.replaceAll(/(?![\n\t])\p{Cc}/gu, "") : text;
}
