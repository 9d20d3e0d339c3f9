import { howFar } from "../fetch/progress-log.ts";
import type { PushOptions } from "../fetch/push/push-model.ts";
import { RateMeter } from "../fetch/rate-meter.ts";
import type { Logger } from "../log.ts";
import { barLine } from "./progress-bars.ts";

const DRAW_MS = 100;
const LOG_MS = 3_000;

/** How far a push is: a bar on a terminal, elsewhere a log line that begins with "Uploading" every few seconds. */
export function showPush(
  name: string,
  terminal: NodeJS.WriteStream | null,
  log: Logger,
): Pick<PushOptions, "onPlan" | "onBytes"> & Disposable {
  const meter = new RateMeter();
  const amounts = { bytesDone: 0, bytesTotal: 0, rate: 0 };
  let timer: NodeJS.Timeout | undefined;
  const draw = () => {
    amounts.rate = meter.rate();
    const isDone = amounts.bytesDone === amounts.bytesTotal;
    const line = barLine(isDone ? "Uploaded" : "Uploading", name, { ...amounts, isDone });
    terminal?.write(`\r\u001b[2K${line.slice(0, terminal.columns || 80)}`);
  };
  const tell = () => log.info(`Uploading ${name}: ${howFar({ ...amounts, rate: meter.rate() })}`);
  return {
    onPlan({ bytes, missingBytes, missingFiles }) {
      amounts.bytesTotal = bytes;
      amounts.bytesDone = bytes - missingBytes;
      if (missingFiles === 0) return;
      if (!terminal) tell();
      timer = setInterval(terminal ? draw : tell, terminal ? DRAW_MS : LOG_MS);
    },
    onBytes(count) {
      meter.add(count);
      amounts.bytesDone += count;
    },
    [Symbol.dispose]() {
      if (!timer) return;
      clearInterval(timer);
      timer = undefined;
      if (!terminal) return;
      draw();
      terminal.write("\n");
    },
  };
}
