import { join } from "node:path";
import { repoOf } from "../hub/site.ts";
import { ROOT } from "../workplace.ts";
import { bareEnvironment, type Tool, urlOf } from "./tool.ts";

/** Made by scripts/interop-setup. */
export const PYTHON = join(ROOT, ".interop", "hub-2.0.0", "bin", "python");

/** Pieces from 1 MiB on, for with aria2c's own 20 MiB a smaller file would not get its sixteen connections. */
export const aria2c: Tool = {
  name: "aria2c -x16",
  needs: ["aria2c"],
  fetches: true,
  command(task) {
    const { path } = task.set.files[0]!;
    const split = ["-x16", "-s16", "-k1M", "--file-allocation=falloc", "--no-conf", "--quiet"];
    const trust = task.authority ? [`--ca-certificate=${task.authority}`] : [];
    return {
      argv: ["aria2c", ...split, ...trust, "-d", task.folder, "-o", path, urlOf(task, path)],
      env: bareEnvironment(),
    };
  },
};

/** snapshot_download with its eight workers, over HTTP; it compares sizes and verifies no digest. */
export const python: Tool = {
  name: "Python huggingface_hub",
  needs: [PYTHON],
  fetches: true,
  command({ set, endpoint, folder, authority }) {
    const program = "import sys; from huggingface_hub import snapshot_download; snapshot_download(sys.argv[1])";
    return {
      argv: [PYTHON, "-c", program, repoOf(set).id],
      env: bareEnvironment({
        HF_ENDPOINT: endpoint,
        HF_HOME: folder,
        HF_HUB_DISABLE_XET: "1",
        HF_HUB_DISABLE_PROGRESS_BARS: "1",
        HF_HUB_DISABLE_TELEMETRY: "1",
        ...(authority && { SSL_CERT_FILE: authority, REQUESTS_CA_BUNDLE: authority }),
      }),
    };
  },
};
