import { howFar } from "../fetch/progress-log.ts";
import { RateMeter } from "../fetch/rate-meter.ts";
import type { Logger } from "../log.ts";
import { barLine } from "./progress-bars.ts";

const DRAW_MS = 100;
const LOG_MS = 3_000;

export interface WorkProgress extends Disposable {
  onPlan(plan: { bytes: number; missingBytes: number; missingFiles: number }): void;
  onBytes(count: number): void;
}

/** How far a push or a check is: a bar on a terminal, elsewhere a log line that begins with its word every few seconds. */
export function showWork(
  { doing, done, name }: { doing: string; done: string; name: string },
  terminal: NodeJS.WriteStream | null,
  log: Logger,
): WorkProgress {
  const meter = new RateMeter();
  const amounts = { bytesDone: 0, bytesTotal: 0, rate: 0 };
  let timer: NodeJS.Timeout | undefined;
  const draw = () => {
    amounts.rate = meter.rate();
    const isDone = amounts.bytesDone === amounts.bytesTotal;
    const line = barLine(isDone ? done : doing, name, { ...amounts, isDone });
    terminal?.write(`\r\u001b[2K${line.slice(0, terminal.columns || 80)}`);
  };
  const tell = () => log.info(`${doing} ${name}: ${howFar({ ...amounts, rate: meter.rate() })}`);
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
