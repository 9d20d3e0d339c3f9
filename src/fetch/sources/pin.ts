import { MusterError } from "../../errors.ts";
import type { Variant } from "../../model.ts";

/** What the catalog takes where no revision is named; a plain folder has no branches. */
const UNPINNED = "main";

/** Throws REVISION_NOT_FOUND where the catalog pins another revision than a plain folder holds. */
export function checkPin(variant: Variant, held: { revision: string; name: string | undefined }): void {
  if ([UNPINNED, held.revision, held.name].includes(variant.revision)) return;
  throw new MusterError(
    "REVISION_NOT_FOUND",
    `${variant.location} holds revision ${held.revision}, and the catalog asks for ${variant.revision}.`,
    { hint: "Correct `revision` of the variant in the catalog, or leave it out to take what is there." },
  );
}
