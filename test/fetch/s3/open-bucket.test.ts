import { join } from "node:path";
import { build } from "esbuild";
import { expect, it } from "vitest";

/** The SDK is a quarter of the bundle; commands that meet no bucket must not wait for it. */
it("what loads at the start, of the command and of every subcommand, holds nothing of the SDK", async () => {
  const root = join(import.meta.dirname, "../../..");
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: {
      muster: "src/main.ts",
      sync: "src/cli/sync.ts",
      push: "src/cli/push.ts",
      lane: "src/fetch/transfer/lane.ts",
    },
    outdir: "dist",
    bundle: true,
    splitting: true,
    write: false,
    format: "esm",
    platform: "node",
    metafile: true,
    logLevel: "silent",
  });
  const { outputs } = metafile;
  const holdsSdk = (file: string) => Object.keys(outputs[file]!.inputs).some((input) => input.includes("@aws-sdk/"));
  const reached = new Set(["dist/muster.js", "dist/sync.js", "dist/push.js", "dist/lane.js"]);
  for (const file of reached) {
    for (const { path, kind } of outputs[file]!.imports)
      if (kind === "import-statement" && path in outputs) reached.add(path);
  }
  expect([...reached].filter(holdsSdk)).toEqual([]);
  // But it is in the bundle, for when it is needed.
  expect(Object.keys(outputs).some(holdsSdk)).toBe(true);
});
