import { cp, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { build } from "esbuild";

/**
 * Bundles the agent into dist/, or the folder that is named: one entry for the command, one for the transfer thread, chunks that
 * load when needed.
 */

const root = join(import.meta.dirname, "..");
const folder = resolve(process.argv[2] ?? join(root, "dist"));
await rm(folder, { recursive: true, force: true });
const result = await build({
  absWorkingDir: root,
  entryPoints: { muster: "src/main.ts", lane: "src/fetch/transfer/lane.ts" },
  outdir: folder,
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node24.12",
  // esbuild does not know that it is.
  supported: { using: true },
  // Its CommonJS form finds its parts in a way that only Node follows.
  alias: { "jsonc-parser": "jsonc-parser/lib/esm/main.js" },
  legalComments: "linked",
  metafile: true,
  // CommonJS packages inside an ES module bundle still call require for what Node brings.
  banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
  logLevel: "warning",
});
// The dashboard's page is served as it stands, from beside the bundle.
await cp(join(root, "src/coordinator/dashboard/page"), join(folder, "page"), {
  recursive: true,
  filter: (path) => !path.endsWith("tsconfig.json"),
});
const bytes = Object.values(result.metafile.outputs).reduce((sum, output) => sum + output.bytes, 0);
process.stdout.write(
  `${folder}: ${Object.keys(result.metafile.outputs).length} files, ${(bytes / 1e6).toFixed(1)} MB\n`,
);
