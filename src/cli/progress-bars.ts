import { type Amounts, bytes, logNotes, timeLeft } from "../fetch/progress-log.ts";
import type { SyncObserver, SyncProgress } from "../fetch/sync-models.ts";
import type { Logger } from "../log.ts";

const EVERY_MS = 100;
const BAR_WIDTH = 24;

/** One line per model with bar, rate and time left, redrawn in place on a terminal. */
export function drawProgress(terminal: NodeJS.WriteStream, log: Logger): SyncObserver & { close(): void } {
  const models = new Map<string, SyncProgress>();
  const tell = logNotes(log);
  let drawnLines = 0;
  const draw = () => {
    const lines = [...models.values()].map((progress) => line(progress).slice(0, terminal.columns || 80));
    const up = drawnLines > 0 ? `\u001b[${drawnLines}A` : "";
    terminal.write(`${up}${lines.map((text) => `\u001b[2K${text}\n`).join("")}`);
    drawnLines = lines.length;
  };
  const timer = setInterval(draw, EVERY_MS);
  return {
    onProgress: (progress) => models.set(progress.spec.id, { ...progress }),
    onNote(...note) {
      // Above the bars, which are drawn anew below.
      if (drawnLines > 0) terminal.write(`\u001b[${drawnLines}A\u001b[0J`);
      drawnLines = 0;
      tell(...note);
    },
    close() {
      clearInterval(timer);
      draw();
    },
  };
}

function line({ spec, state, ...amounts }: SyncProgress): string {
  const word =
    state === "fetching" ? "Downloading" : state === "stored" ? "Complete" : state === "failed" ? "Failed" : "Asking";
  const rate = state === "fetching" ? amounts.rate : 0;
  return barLine(word, spec.id, { ...amounts, rate, isDone: state === "stored" });
}

/** A word, a name, a bar; with rate and time left while there is a rate. */
export function barLine(
  word: string,
  name: string,
  { bytesDone, bytesTotal, rate, isDone }: Amounts & { isDone: boolean },
): string {
  const share = bytesTotal > 0 ? Math.min(1, bytesDone / bytesTotal) : isDone ? 1 : 0;
  const filled = Math.round(share * BAR_WIDTH);
  const bar = `${"█".repeat(filled)}${"░".repeat(BAR_WIDTH - filled)}`;
  const pace = rate > 0 ? `  ${bytes(rate)}/s  ${timeLeft((bytesTotal - bytesDone) / rate)} left` : "";
  return `${word.padEnd(11)} ${name.padEnd(20)} ${bar} ${String(Math.floor(share * 100)).padStart(3)}%  ${bytes(bytesDone)}/${bytes(bytesTotal)}${pace}`;
}
