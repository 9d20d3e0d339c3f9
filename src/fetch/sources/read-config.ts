import type { FileSpec } from "../../model.ts";
import type { DescribeOptions } from "../origin.ts";

/** Bytes; a larger one is not a configuration. */
const LARGEST = 1 << 20;

/** The text of a model's config.json: as the volume has it, else as the source gives it; null where there is none. */
export async function readConfig(
  files: readonly FileSpec[],
  options: Pick<DescribeOptions, "readStored">,
  read: () => Promise<string | null>,
): Promise<string | null> {
  const config = files.find(({ path, size }) => path === "config.json" && size <= LARGEST);
  return config ? ((await options.readStored(config)) ?? (await read())) : null;
}
