import type { FileSpec } from "../../model.ts";
import { readConfigCard, readReadme } from "../model-card.ts";
import type { DescribeOptions, ModelSurvey } from "../origin.ts";
import { readArchitecture } from "../read-architecture.ts";

/** Bytes; a larger one is not a configuration, and no card. */
const LARGEST = 1 << 20;

/**
 * What a folder's own files say of its model: config.json and the head of README.md, as the volume has them, else as `read`
 * gives them. `license`: what is known of it otherwise.
 */
export async function readAbout<File extends Pick<FileSpec, "path" | "size">>(
  files: readonly File[],
  {
    readStored = async () => null,
    read,
    license = null,
  }: {
    readStored?: (file: File) => ReturnType<DescribeOptions["readStored"]>;
    read: (path: string) => Promise<string | null>;
    license?: string | null;
  },
): Promise<Required<Pick<ModelSurvey, "architecture" | "card">>> {
  const textOf = async (name: string) => {
    const file = files.find(({ path, size }) => path === name && size <= LARGEST);
    return file ? ((await readStored(file)) ?? (await read(name))) : null;
  };
  const config = await textOf("config.json");
  const readme = readReadme(await textOf("README.md"));
  const { quantization, task } = readConfigCard(config);
  return {
    architecture: config === null ? null : readArchitecture(config),
    card: { license: readme.license ?? license, gated: false, task: readme.task ?? task, quantization },
  };
}
