import { EXIT } from "../errors.ts";

/**
 * A line nobody reads any more (`muster sync | head -1`), or that a full disk does not take, is no reason to leave the work
 * undone; the latter is told of, and no success.
 */
export function watchOutput(): void {
  let isTold = false;
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE" || isTold) return;
      isTold = true;
      process.once("exit", () => {
        process.exitCode ||= EXIT.failed;
      });
      if (stream === process.stdout)
        process.stderr.write(`error: standard output cannot be written: ${error.message}\n`);
    });
  }
}
