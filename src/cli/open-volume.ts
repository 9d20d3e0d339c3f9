import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import type { Catalog } from "../select/worker-types.ts";
import { type AuditTrail, openAudit } from "../store/audit/audit-trail.ts";
import { type InventoryEntry, takeInventory } from "../store/inventory.ts";
import { createLayout, type Layout } from "../store/layout.ts";
import { type CatalogUse, catalogIfReadable, catalogUses } from "./catalog-models.ts";
import { setup } from "./setup.ts";

/** What the commands about the volume begin with. */
export interface Volume {
  config: Config;
  log: Logger;
  layout: Layout;
  catalog: Catalog;
  /** By record key. */
  uses: ReadonlyMap<string, CatalogUse>;
  entries: InventoryEntry[];
  /** Where is noted what is done. */
  audit: AuditTrail;
  /** Aborted by SIGTERM and SIGINT. */
  signal: AbortSignal;
}

/** `logTo`: log lines that tell of progress are for where no terminal shows a bar. */
export async function openVolume({ logTo = "quiet" }: { logTo?: "quiet" | "stderr" } = {}): Promise<Volume> {
  const { config, log } = setup({ logTo: "stderr", logFile: false, quiet: logTo === "quiet" });
  const stop = new AbortController();
  process.once("SIGTERM", () => stop.abort());
  process.once("SIGINT", () => stop.abort());
  const layout = createLayout(config.modelCacheDir, config.hfHubCache, config.ollamaModels);
  const catalog = await catalogIfReadable(config, log);
  const entries = await takeInventory(layout);
  const audit = openAudit({ layout, config, log });
  return { config, log, layout, audit, catalog, uses: catalogUses(catalog), entries, signal: stop.signal };
}
