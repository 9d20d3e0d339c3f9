import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { planBundle } from "../../../src/fetch/bundle/bundle-plan.ts";
import { exportFile } from "../../../src/fetch/bundle/export-file.ts";
import { findBundles } from "../../../src/fetch/bundle/find-bundles.ts";
import { importBundle } from "../../../src/fetch/bundle/import-bundle.ts";
import { planImport } from "../../../src/fetch/bundle/plan-import.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { openTransfer, syncContext } from "../sync-context.ts";
import { fillVolume } from "./tiny-volume.ts";

/** What an import has made, as Python's huggingface_hub sees it, without any network. */

const signal = new AbortController().signal;
const quiet = { onPlan: () => undefined, onBytes: () => undefined, onNote: () => undefined };

/** Two small repositories, taken to another volume. Gives its hub cache, and the commits. */
async function importedCache() {
  await using transfer = openTransfer({ endpoint: "", volume: "" });
  const [folder, volume] = [temporaryFolder(), temporaryFolder()];
  const models = await fillVolume(join(folder, "volume"), transfer, 1 << 20);
  const path = join(folder, "bundle.tar");
  await exportFile(
    planBundle(models),
    { path, partSize: null, zstd: false, mayReplace: async () => false },
    { signal, ...quiet },
  );
  const context = {
    ...syncContext({ endpoint: "http://127.0.0.1:9", volume, offline: true }, transfer),
    signal,
    update: null,
  };
  const [found] = await findBundles([path], process.stdin);
  await using bundle = await found!.open();
  const outcomes = await importBundle(bundle, await planImport(bundle, context), context, quiet);
  expect(outcomes.map(({ state }) => state)).toEqual(["imported", "imported", "imported"]);
  const commits = Object.fromEntries(models.map(({ location, revision }) => [location, revision]));
  return { cache: join(volume, "huggingface/hub"), home: folder, commits };
}

for (const [version, variable] of [
  ["1.33.0", "MUSTER_PYTHON_133"],
  ["2.0.0", "MUSTER_PYTHON_200"],
] as const) {
  const python =
    process.env[variable] || resolve(import.meta.dirname, "../../../.interop", `hub-${version}`, "bin", "python");
  const missing = !existsSync(python);
  if (missing)
    process.stderr.write(
      `SKIPPED: huggingface_hub ${version} is not at ${python} (scripts/interop-setup installs it)\n`,
    );

  describe.skipIf(missing)(`huggingface_hub ${version}`, () => {
    it("finds imported models as if they had been fetched, and has nothing to complain of", async () => {
      const { cache, home, commits } = await importedCache();
      const program = `
import json
from huggingface_hub import snapshot_download, scan_cache_dir, hf_hub_download
cache = scan_cache_dir()
print(json.dumps({
    "warnings": [str(warning) for warning in cache.warnings],
    "refs": {repo.repo_id: {ref: revision.commit_hash for ref, revision in repo.refs.items()} for repo in cache.repos},
    "folders": {repo: snapshot_download(repo, local_files_only=True) for repo in ("acme/tiny", "acme/twin")},
    "file": hf_hub_download("acme/twin", "sub folder/ü#1.json", local_files_only=True),
}))`;
      const { stdout } = await promisify(execFile)(python, ["-W", "error::UserWarning", "-c", program], {
        env: { PATH: process.env.PATH, HOME: home, HF_HUB_CACHE: cache, HF_HUB_OFFLINE: "1", PYTHONUTF8: "1" },
      });
      const folder = (name: string) => join(cache, `models--acme--${name}`, "snapshots", commits[`acme/${name}`]!);
      expect(JSON.parse(stdout.trimEnd().split("\n").at(-1)!)).toEqual({
        warnings: [],
        refs: { "acme/tiny": { main: commits["acme/tiny"] }, "acme/twin": { main: commits["acme/twin"] } },
        folders: { "acme/tiny": folder("tiny"), "acme/twin": folder("twin") },
        file: join(folder("twin"), "sub folder/ü#1.json"),
      });
    });
  });
}
