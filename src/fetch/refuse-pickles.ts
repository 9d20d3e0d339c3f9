import type { ContentPolicy } from "../content-policy.ts";
import { MusterError } from "../errors.ts";
import type { FileSpec } from "../model.ts";
import { isPickle } from "./choose-files.ts";

/** Throws PICKLE_REFUSED where no pickle may be used, and one of these files is one. */
export function refusePickles(
  location: string,
  files: readonly Pick<FileSpec, "path">[],
  { pickles }: Pick<ContentPolicy, "pickles">,
): void {
  const found = pickles === "refuse" ? files.find(({ path }) => isPickle(path)) : undefined;
  if (!found) return;
  throw new MusterError(
    "PICKLE_REFUSED",
    `${location} has a pickle (${found.path}), and PICKLE_POLICY=refuse lets none in, whatever the catalog says.`,
    {
      hint: "Choose a repository or revision with safetensors, or `exclude` the file where the model does without it; `muster list` shows which stored models have pickles.",
    },
  );
}
