import { readFile, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { ContentPolicy } from "../../content-policy.ts";
import { MusterError } from "../../errors.ts";
import { plainVariant, type StoredModel, type Variant } from "../../model.ts";
import { chooseFiles } from "../choose-files.ts";
import { readReadme } from "../model-card.ts";
import { refusePickles } from "../refuse-pickles.ts";
import { listFolder } from "../sources/folder-listing.ts";
import { filesToCreate, type LocalFile } from "./create-files.ts";

/** A model as it lies on this machine, to be sent to a server. */
export interface LocalModel {
  /** For people. */
  name: string;
  files: LocalFile[];
  /** As its own README.md says it. */
  license: string | null;
}

/** The file, or what is needed of the folder; null where there is neither of that name. `quantization`: which GGUF of several. */
export async function localModel(
  given: string,
  {
    quantization,
    contentPolicy,
    signal,
  }: { quantization: string | null; contentPolicy: ContentPolicy; signal: AbortSignal },
): Promise<LocalModel | null> {
  const place = resolve(given);
  const found = await stat(place).catch(() => null);
  if (found?.isFile()) return oneFile(place, found.size);
  if (!found?.isDirectory()) return null;
  const all = (await listFolder(place, signal)).map((file) => ({
    ...file,
    place: join(place, file.path),
    sha256: null,
  }));
  const { files } = chooseFiles(all, asked({ location: place, quantization }));
  refusePickles(place, files, contentPolicy);
  const readme = await readFile(join(place, "README.md"), "utf8").catch(() => null);
  return { name: place, files: filesToCreate(files, place), license: readReadme(readme).license };
}

/** A model of the volume, by its record. */
export function storedModel(stored: StoredModel): LocalModel {
  const { location, path: root, license } = stored;
  const files = stored.files.map(({ path, size, digest }) => {
    return { path, size, place: join(root, path), sha256: digest.algorithm === "sha256" ? digest.hex : null };
  });
  return { name: location, license, files: filesToCreate(files, location) };
}

/** What of a model's files is wanted: one GGUF, where that is named. */
export function asked(known: Pick<Variant, "location" | "quantization"> & Partial<Variant>): Variant {
  const format = known.quantization === null ? {} : { format: "gguf" as const };
  return plainVariant({ id: known.location, source: "path", revision: "main", ...format, ...known });
}

function oneFile(place: string, size: number): LocalModel {
  if (/\.gguf$/i.test(place))
    return { name: place, license: null, files: [{ path: basename(place), place, size, sha256: null }] };
  const hint = /\.safetensors$/i.test(place)
    ? `Name its folder, with the config.json and the tokenizer that belong to it: ${dirname(place)}.`
    : "Name a .gguf file, a folder with safetensors, or a repository as hf:org/name.";
  throw new MusterError("INVALID_INPUT", `${place} is no model that Ollama takes by itself.`, { hint });
}
