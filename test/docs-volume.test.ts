import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { CHAT, TINY, TWIN, volumePlace } from "./cli/volume-place.ts";
import { LAUNCHER } from "./e2e/muster.ts";

const FILE = join(import.meta.dirname, "../docs/volume.md");

/** Numbers, times, digests and widths are of the machine. */
function shape(text: string): string {
  return text
    .replaceAll(/\b[0-9a-f]{8,64}\b/g, "#")
    .replaceAll(/\d{4}-\d\d-\d\d[T ][\d:.]+Z?/g, "TIME")
    .replaceAll(/^TIME INFO .*\n/gm, "")
    .replaceAll(/\d+(\.\d+)? ([kMGT]?B)\b/g, "SIZE")
    .replaceAll(/ in [\d.]+ s \(/g, " in TIME (")
    .replaceAll(/ by \S+@\S+:/g, " by USER@HOST:")
    .replaceAll(/[█▒░]+/g, "BAR")
    .replaceAll(/ +/g, " ")
    .trim();
}

it("the transcripts of docs/volume.md are what the commands print", async () => {
  const at = await volumePlace();
  onTestFinished(() => at[Symbol.asyncDispose]());
  // So that it is not by milliseconds that one is the older.
  at.makeOld(CHAT, 2);
  at.makeOld(TWIN, 1);
  const [bin, cold] = ["bin", "cold"].map((name) => join(at.here.folder, name));
  for (const folder of [bin, cold]) mkdirSync(folder!);
  symlinkSync(LAUNCHER, join(bin!, "muster"));
  const env = { ...at.env, PATH: `${bin}:${process.env.PATH}`, HOME: process.env.HOME, LOG_LEVEL: "warn" };
  const there = (text: string) =>
    text
      .replaceAll("/models/", `${at.here.volume}/`)
      .replaceAll("/models ", `${at.here.volume} `)
      .replaceAll("/mnt/cold", cold!);
  const here = (text: string) => text.replaceAll(at.here.volume, "/models").replaceAll(cold!, "/mnt/cold");
  const run = (command: string) =>
    new Promise<string>((resolve) => {
      execFile("sh", ["-c", `{ ${there(command)}; } 2>&1`], { env, cwd: at.here.folder }, (_error, stdout) =>
        resolve(here(stdout)),
      );
    });
  const text = readFileSync(FILE, "utf8");
  const blocks = [...text.matchAll(/^```console\n([\s\S]*?)^```$/gm)].map(([, block]) => block!);
  const made: string[] = [];
  for (const block of blocks) {
    const commands = [...block.matchAll(/^\$ (.+)$/gm)].map(([, command]) => command!);
    let transcript = "";
    // What the text tells of has moved at its source by then.
    if (block.startsWith("$ muster outdated")) at.hub.updateRepo(TINY, { "config.json": '{"model_type":"llama"}' });
    for (const command of commands) transcript += `$ ${command}\n${(await run(command)).replace(/[ \t]+$/gm, "")}`;
    made.push(transcript);
  }
  // Written by hand are the commands only: `UPDATE_TRANSCRIPTS=1 npx vitest run test/docs-volume.test.ts` renews the rest.
  if (process.env.UPDATE_TRANSCRIPTS) {
    let index = 0;
    writeFileSync(
      FILE,
      text.replaceAll(/^```console\n[\s\S]*?^```$/gm, () => `\`\`\`console\n${made[index++]}\`\`\``),
    );
  } else expect(made.map(shape)).toEqual(blocks.map(shape));
  expect(made).toHaveLength(blocks.length);
  expect(blocks.length).toBeGreaterThan(5);
});
