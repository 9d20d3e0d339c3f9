import { chmodSync, copyFileSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "vitest";
import { VERSION } from "../../src/system.ts";
import { LAUNCHER, type Place, place, runMuster } from "../e2e/muster.ts";

/** The launcher alone, as after a checkout without an install. */
function bareCopy({ folder }: Place): string {
  const copy = join(folder, "checkout", "scripts", "muster");
  mkdirSync(dirname(copy), { recursive: true });
  copyFileSync(LAUNCHER, copy);
  chmodSync(copy, 0o755);
  return copy;
}

/** A PATH with the tools the launcher needs, and this script as `node`; none for null. */
function pathWith({ folder }: Place, node: string | null): string {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  for (const tool of ["dirname", "readlink", "find", "head", "sh", "cat"]) {
    const found = ["/usr/bin", "/bin"].map((path) => join(path, tool));
    writeFileSync(join(bin, tool), `#!/bin/sh\n[ -x ${found[0]} ] && exec ${found[0]} "$@"\nexec ${found[1]} "$@"\n`);
    chmodSync(join(bin, tool), 0o755);
  }
  if (node !== null) {
    writeFileSync(join(bin, "node"), `#!/bin/sh\n${node}\n`);
    chmodSync(join(bin, "node"), 0o755);
  }
  return bin;
}

describe.concurrent("the launcher", () => {
  test("is found through links, from any folder", async ({ expect }) => {
    using here = place();
    const link = join(here.folder, "muster");
    symlinkSync(LAUNCHER, join(here.folder, "first"));
    symlinkSync("first", link);
    const absolute = await runMuster(["--version"], {}, { command: [link], cwd: "/" });
    expect(absolute).toMatchObject({ code: 0, stdout: `${VERSION}\n`, stderr: "" });
    const relative = await runMuster(["--version"], {}, { command: ["./muster"], cwd: here.folder });
    expect(relative).toMatchObject({ code: 0, stdout: `${VERSION}\n` });
    // Paths that are given are those of the caller.
    const env = { ...here.env, MODEL_CACHE_DIR: "models" };
    const list = await runMuster(["list"], env, { command: [link], cwd: here.folder });
    expect(list.stdout).toContain(`0 models, 0 B in ${here.volume}\n`);
  });

  test("hands arguments on as they are", async ({ expect }) => {
    const { stderr } = await runMuster(["sync", "a b", "*", "$HOME"], { LOG_FILE: "none", ENABLE_GPU: "false" });
    expect(stderr).toContain('no worker type and no model "a b"');
  });

  test("says so when the only Node.js is too old", async ({ expect }) => {
    using here = place();
    const node = 'case "$1" in --version) echo v20.20.2 ;; -e) exit 1 ;; *) echo "SyntaxError" >&2; exit 1 ;; esac';
    const copy = bareCopy(here);
    const run = await runMuster(["start"], { PATH: pathWith(here, node) }, { command: [copy] });
    expect(run).toMatchObject({ code: 78, stdout: "" });
    const root = join(here.folder, "checkout");
    expect(run.stderr).toBe(
      `muster: ${here.folder}/bin/node is v20.20.2, and 24.12 is the oldest that works; run npm ci in ${root}, or install a newer Node.js\n`,
    );
  });

  test("says so when there is no Node.js", async ({ expect }) => {
    using here = place();
    const copy = bareCopy(here);
    const run = await runMuster(["start"], { PATH: pathWith(here, null) }, { command: [copy] });
    expect(run).toMatchObject({ code: 78, stdout: "" });
    expect(run.stderr).toMatch(
      /^muster: there is no Node\.js here; run npm ci in \S+checkout, or install Node\.js 24\.12 or newer\n$/,
    );
  });

  test("says so when the packages are missing", async ({ expect }) => {
    using here = place();
    const copy = bareCopy(here);
    mkdirSync(join(here.folder, "checkout", "src"));
    writeFileSync(join(here.folder, "checkout", "src", "main.ts"), 'import "commander";\n');
    const run = await runMuster(
      ["start"],
      { PATH: pathWith(here, `exec ${process.execPath} "$@"`) },
      { command: [copy] },
    );
    expect(run).toMatchObject({ code: 78, stdout: "" });
    expect(run.stderr).toMatch(/^muster: its packages are not installed; run npm ci in \S+checkout\n$/);
  });

  test("runs the bundle where it is newer than the sources, and the sources where it is not", async ({ expect }) => {
    using here = place();
    const copy = bareCopy(here);
    const root = join(here.folder, "checkout");
    for (const folder of ["src", "dist", "node_modules"]) mkdirSync(join(root, folder));
    writeFileSync(join(root, "package.json"), '{ "type": "module" }');
    writeFileSync(join(root, "src", "main.ts"), 'console.log("sources");');
    writeFileSync(join(root, "dist", "muster.js"), 'console.log("bundle");');
    const run = async () => (await runMuster([], { PATH: pathWithNode }, { command: [copy] })).stdout;
    const pathWithNode = pathWith(here, `exec ${process.execPath} "$@"`);
    const at = (name: string, seconds: number) => utimesSync(join(root, name), seconds, seconds);
    for (const name of ["package.json", "src", "src/main.ts"]) at(name, 1000);
    at("dist/muster.js", 2000);
    expect(await run()).toBe("bundle\n");
    at("src/main.ts", 3000);
    expect(await run()).toBe("sources\n");
  });
});
