import { readdir } from "node:fs/promises";
import { execa } from "execa";
import { expect, it } from "vitest";
import { temporaryFolder } from "../store/temporary-folder.ts";

const isolated = (folder: string) => ({
  env: { PATH: process.env.PATH, HOME: process.env.HOME, TMPDIR: folder },
  extendEnv: false as const,
});
const leftIn = async (folder: string) => (await readdir(folder)).filter((name) => name.startsWith("muster-"));

/** The README's first command, as a newcomer runs it. */
it("runs the whole way once, fetches nothing the second time, and leaves nothing behind", async () => {
  const folder = temporaryFolder();
  const { stdout, stderr } = await execa("scripts/quickstart", isolated(folder));
  expect(stderr).toBe("");
  const order = [
    "What would run here",
    "Detected ",
    "Selected tiny-chat",
    "Registered with the coordinator",
    "Downloading acme/tiny-chat",
    "Ready: every required model is on the volume",
    "The coordinator lists it: worker-",
    "Requests to the hub this time: 0",
    "2 models, ",
    "HF_TOKEN_FILE=",
  ];
  const places = order.map((text) => stdout.indexOf(text));
  expect(places.every((place) => place >= 0)).toBe(true);
  expect(places).toEqual(places.toSorted((a, b) => a - b));
  expect(await leftIn(folder)).toEqual([]);
});

it.each(["SIGINT", "SIGTERM"] as const)("leaves nothing behind when %s ends it", async (signal) => {
  const folder = temporaryFolder();
  const quickstart = execa("scripts/quickstart", { ...isolated(folder), reject: false });
  for await (const line of quickstart) if (line.includes("Downloading acme/tiny-chat")) quickstart.kill(signal);
  expect((await quickstart).exitCode).toBe(signal === "SIGINT" ? 130 : 143);
  expect(await leftIn(folder)).toEqual([]);
});
