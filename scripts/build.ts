import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";

/** Bundles the agent into dist/: one entry for the command, one for the transfer thread, chunks that load when needed. */

const root = join(import.meta.dirname, "..");
await rm(join(root, "dist"), { recursive: true, force: true });
const result = await build({
  absWorkingDir: root,
  entryPoints: { muster: "src/main.ts", lane: "src/fetch/transfer/lane.ts" },
  outdir: "dist",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node24.12",
  legalComments: "linked",
  metafile: true,
  // CommonJS packages inside an ES module bundle still call require for what Node brings.
  banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
  logLevel: "warning",
});
// The dashboard's page is served as it stands, from beside the bundle.
await cp(join(root, "src/coordinator/dashboard/page"), join(root, "dist/page"), {
  recursive: true,
  filter: (path) => !path.endsWith("tsconfig.json"),
});
const bytes = Object.values(result.metafile.outputs).reduce((sum, output) => sum + output.bytes, 0);
process.stdout.write(`dist: ${Object.keys(result.metafile.outputs).length} files, ${(bytes / 1e6).toFixed(1)} MB\n`);
