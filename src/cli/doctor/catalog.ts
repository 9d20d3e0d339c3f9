import type { Config } from "../../config.ts";
import { toMusterError } from "../../errors.ts";
import { type Catalog, findWorkerType } from "../../select/worker-types.ts";
import type { Check } from "./check.ts";

/** `catalog`: what reading it has given, or why it cannot be read. */
export function checkCatalog({ catalogFile, workerType }: Config, catalog: Catalog | Error): Check {
  const name = "catalog";
  try {
    if (catalog instanceof Error) throw catalog;
    const found = `${catalogFile}: ${catalog.models.size} models, ${catalog.workerTypes.size} worker types`;
    if (workerType === null) {
      const hint = `Set WORKER_TYPE to one of: ${[...catalog.workerTypes.keys()].join(", ")}.`;
      return { name, result: "warn", found: `${found}; WORKER_TYPE is not set`, hint };
    }
    findWorkerType(catalog, workerType);
    return { name, result: "ok", found };
  } catch (error) {
    const { message, hint } = toMusterError(error);
    return { name, result: "fail", found: message, hint };
  }
}
