import { cpus, release, totalmem } from "node:os";
import { PYTHON } from "../tools/clients.ts";
import { ROOT, type Workplace } from "../workplace.ts";
import type { Origin } from "./results.ts";

/** Hardware and versions, in words. */
export async function describeMachine(place: Workplace): Promise<string> {
  const versionOf = async (name: string, argv: string[]) => {
    // nginx says it on standard error.
    const text = await place.run(["bash", "-c", '"$@" 2>&1', "bash", ...argv]).catch(() => "");
    const found = /\d+\.\d+[\w.]*/.exec(text)?.[0];
    return found ? [`${name} ${found}`] : [];
  };
  const python = "import huggingface_hub as hub; print(hub.__version__)";
  const versions = [
    `Node ${process.versions.node}`,
    ...(await versionOf("nginx", ["nginx", "-v"])),
    ...(await versionOf("curl", ["curl", "--version"])),
    ...(await versionOf("OpenSSL", ["openssl", "version"])),
    ...(await versionOf("aria2", ["aria2c", "--version"])),
    ...(await versionOf("huggingface_hub", [PYTHON, "-c", python])),
  ];
  const memory = `${(totalmem() / 2 ** 30).toFixed(0)} GiB of memory`;
  const hardware = `${cpus().length} cores (${cpus()[0]?.model.trim()}), ${memory}, Linux ${release()}`;
  return `On ${hardware}; ${versions.join(", ")}.`;
}

/** When and of what the figures are. */
export async function describeOrigin(place: Workplace): Promise<Origin> {
  const git = (...args: string[]) => place.run(["git", "-C", ROOT, ...args]).then((text) => text.trim());
  const commit = await git("rev-parse", "--short", "HEAD").catch(() => "unknown");
  const changed = await git("status", "--porcelain", "--untracked-files=no", "--", "src", "scripts").catch(() => "");
  return {
    date: new Date().toISOString().slice(0, 10),
    commit: changed === "" ? commit : `${commit} with changes`,
  };
}
