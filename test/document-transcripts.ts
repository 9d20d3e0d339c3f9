import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { type Env, LAUNCHER } from "./e2e/muster.ts";

/** Numbers, times, digests and widths are of the machine. */
function shape(text: string): string {
  return text
    .replaceAll(/\b[0-9a-f]{8,64}\b/g, "#")
    .replaceAll(/\d{4}-\d\d-\d\d[T ][\d:.]+Z?/g, "TIME")
    .replaceAll(/^TIME INFO .*\n/gm, "")
    .replaceAll(/\d+(\.\d+)? ([kMGT]?B)\b/g, "SIZE")
    .replaceAll(/ in [\d.]+ s \(/g, " in TIME (")
    .replaceAll(/ by \S+@\S+:/g, " by USER@HOST:")
    .replaceAll(/127\.0\.0\.1:\d+/g, "HOST")
    .replaceAll(/[█▒░]+/g, "BAR")
    .replaceAll(/ +/g, " ")
    .trim();
}

export interface TranscriptOptions {
  env: Env;
  /** Where commands run; gets a `bin` with the launcher. */
  folder: string;
  /** Paths of the document, and what they are here. */
  paths: Record<string, string>;
  /** Called before the commands of a block are run. */
  before?: (block: string) => void;
}

/**
 * Runs every `$ command` of a document's console blocks and holds what it prints against what stands there. Written by hand
 * are the commands only: with UPDATE_TRANSCRIPTS=1 the rest is renewed.
 */
export async function checkTranscripts(
  file: string,
  { env: given, folder, paths, before }: TranscriptOptions,
): Promise<void> {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  symlinkSync(LAUNCHER, join(bin, "muster"));
  const env = { ...given, PATH: `${bin}:${process.env.PATH}`, HOME: process.env.HOME, LOG_LEVEL: "warn" };
  const there = (text: string) =>
    Object.entries(paths).reduce(
      (all, [path, own]) => all.replaceAll(`${path}/`, `${own}/`).replaceAll(new RegExp(`${path}(?= |$)`, "g"), own),
      text,
    );
  const here = (text: string) => Object.entries(paths).reduce((all, [path, own]) => all.replaceAll(own, path), text);
  const run = (command: string) =>
    new Promise<string>((resolve) => {
      execFile("sh", ["-c", `{ ${there(command)}; } 2>&1`], { env, cwd: folder }, (_error, stdout) =>
        resolve(here(stdout)),
      );
    });
  const text = readFileSync(file, "utf8");
  const blocks = [...text.matchAll(/^```console\n([\s\S]*?)^```$/gm)].map(([, block]) => block!);
  const made: string[] = [];
  for (const block of blocks) {
    const commands = [...block.matchAll(/^\$ (.+)$/gm)].map(([, command]) => command!);
    let transcript = "";
    before?.(block);
    for (const command of commands) transcript += `$ ${command}\n${(await run(command)).replace(/[ \t]+$/gm, "")}`;
    made.push(transcript);
  }
  if (process.env.UPDATE_TRANSCRIPTS) {
    let index = 0;
    writeFileSync(
      file,
      text.replaceAll(/^```console\n[\s\S]*?^```$/gm, () => `\`\`\`console\n${made[index++]}\`\`\``),
    );
  } else expect(made.map(shape)).toEqual(blocks.map(shape));
  expect(made).toHaveLength(blocks.length);
  expect(blocks.length).toBeGreaterThan(5);
}
