import type { Command } from "commander";
import { EXIT } from "../errors.ts";
import { createLayout } from "../store/layout.ts";
import { listManifests } from "../store/manifest.ts";
import { catalogIfReadable } from "./catalog-models.ts";
import { bashCompletion } from "./completion/bash.ts";
import { commandTree } from "./completion/command-tree.ts";
import { fishCompletion } from "./completion/fish.ts";
import { zshCompletion } from "./completion/zsh.ts";
import { setup } from "./setup.ts";

const SHELLS = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion };

/** `muster completion SHELL`: a script; `models` and `names` are what it asks for. */
export async function completion(what: keyof typeof SHELLS | "models" | "names", program: Command): Promise<number> {
  const text = what === "models" || what === "names" ? await known(what) : SHELLS[what](commandTree(program));
  process.stdout.write(text);
  return EXIT.ok;
}

/** A line each: models that are stored, or what `sync` takes. */
async function known(what: "models" | "names"): Promise<string> {
  const { config, log } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const catalog = await catalogIfReadable(config, log);
  const layout = createLayout(config.modelCacheDir, config.hfHubCache, config.ollamaModels);
  const names =
    what === "names"
      ? [...catalog.workerTypes.keys(), ...catalog.models.keys()]
      : (await listManifests(layout)).map(({ location }) => location);
  // Shells take a colon for the end of a word.
  const typed = [...new Set(names)].filter((name) => !name.includes(":"));
  return typed.map((name) => `${name}\n`).join("");
}
