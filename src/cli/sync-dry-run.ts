import { missingBytes } from "../fetch/missing-bytes.ts";
import { bytes } from "../fetch/progress-log.ts";
import type { SyncContext } from "../fetch/sync-context.ts";
import type { ModelSpec } from "../model.ts";
import { diskSpace } from "../system.ts";
import { print, table } from "./output.ts";
import type { GlobalOptions } from "./setup.ts";

/** What a sync of the models would fetch; neither the volume nor a source is touched. */
export async function tellSync(
  { workerType, models: specs }: { workerType: string; models: readonly ModelSpec[] },
  context: SyncContext,
  options: GlobalOptions,
): Promise<void> {
  const models = await Promise.all(
    specs.map(async ({ id, required, variant }) => {
      const { state, ...amounts } = await missingBytes(variant, context);
      return { id, variant: variant.id, required, state: state === "stored" ? "stored" : "planned", ...amounts };
    }),
  );
  const missing = models.reduce((sum, { bytesMissing }) => sum + (bytesMissing ?? 0), 0);
  const unknown = models.filter(({ bytesMissing }) => bytesMissing === null).length;
  const { free } = await diskSpace(context.volume);
  print({ workerType, models, bytesMissing: missing, freeBytes: free, dryRun: true }, options, () => {
    const rows = models.map(({ id, variant, state, bytesTotal, bytesMissing }) => [
      ...[id, variant, state === "stored" ? "stored" : "to fetch"],
      `${bytesMissing === null ? "size not known" : bytes(bytesMissing)}${bytesTotal ? ` of ${bytes(bytesTotal)}` : ""}`,
    ]);
    const more = unknown > 0 ? ` and ${unknown} of unknown size` : "";
    // What models have in common comes once.
    const amount = missing > 0 || unknown > 0 ? `at most ${bytes(missing)}${more}` : "nothing";
    return `${table(rows)}\nWould fetch ${amount}; ${context.volume} has ${bytes(free)} free`;
  });
}
