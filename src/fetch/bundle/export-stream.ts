import type { Writable } from "node:stream";
import { MusterError } from "../../errors.ts";
import { type BundlePlan, readPlan } from "./bundle-plan.ts";
import type { ExportOptions, ExportResult } from "./export-options.ts";
import { Packer } from "./packer.ts";

/** Writes the bundle to a stream, as fast as that takes it. Throws MusterError. */
export async function exportStream(
  plan: BundlePlan,
  { stream, zstd }: { stream: Writable; zstd: boolean },
  { signal, onPlan, onBytes }: ExportOptions,
): Promise<ExportResult> {
  let written = 0;
  const write = async (bytes: Uint8Array) => {
    await new Promise<void>((resolve, reject) =>
      stream.write(bytes, (cause) => (cause ? reject(closed(cause)) : resolve())),
    );
    written += bytes.length;
  };
  onPlan(0);
  const packer = zstd ? new Packer(write) : null;
  for await (const { bytes, isContent } of readPlan(plan, 0, signal)) {
    await (packer ? packer.write(bytes) : write(bytes));
    if (isContent) onBytes(bytes.length);
  }
  await packer?.flush();
  return { files: [], bytes: written, writtenBytes: written };
}

function closed(cause: Error): MusterError {
  return new MusterError("CANCELLED", `Who was reading the bundle stopped before its end (${cause.message}).`, {
    hint: "Look at what it said, then run both again: `muster import -` goes on where it stopped.",
    cause,
  });
}
