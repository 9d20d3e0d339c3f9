import { readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { execa } from "execa";
import { expect, it } from "vitest";
import { temporaryFolder } from "./store/temporary-folder.ts";

/** Run when they are loaded: the command, and the transfer thread. */
const ENTRIES = ["muster.js", "lane.js"];

it("every part of the bundle loads without the packages it was made of", async () => {
  const folder = join(temporaryFolder(), "dist");
  await execa(process.execPath, [join(import.meta.dirname, "../scripts/build.ts"), folder]);
  const parts = readdirSync(folder).filter((name) => name.endsWith(".js") && !ENTRIES.includes(name));
  expect(parts.length).toBeGreaterThan(50);
  const load = `for (const part of ${JSON.stringify(parts.map((name) => pathToFileURL(join(folder, name)).href))}) await import(part);`;
  const { stderr } = await execa(process.execPath, ["--input-type=module", "--eval", load], { reject: false });
  expect(stderr).toBe("");
});
