import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { expect, it } from "vitest";

/** The README's first command, as a newcomer runs it. */
it("runs the whole way once, fetches nothing the second time, and leaves nothing behind", async () => {
  const folder = await mkdtemp(join(tmpdir(), "muster-test-"));
  const { stdout, stderr } = await execa("scripts/quickstart", {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, TMPDIR: folder },
    extendEnv: false,
  });
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
  expect((await readdir(folder)).filter((name) => name.startsWith("muster-"))).toEqual([]);
  await rm(folder, { recursive: true });
});
