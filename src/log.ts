import { closeSync, openSync } from "node:fs";
import { type Logger, multistream, pino, type StreamEntry } from "pino";
import { redact } from "./redact.ts";
import type { LogLevel } from "./settings.ts";

export type { Logger } from "pino";

export interface LogOptions {
  level: LogLevel;
  format: "text" | "json";
  /** File descriptor of the console: 1, or 2 where standard output carries data. */
  fd: 1 | 2;
  file: { path: string; required: boolean } | null;
}

/** A logger that writes whole lines at once, so that nothing is lost when the process dies, and no secrets. */
export function createLogger(options: LogOptions): Logger {
  const console = pino.destination({ fd: options.fd, sync: true });
  const streams: StreamEntry[] = [lineStream(console, options.format)];
  const problem =
    options.file && openLogFile(options.file.path, (file) => streams.push(lineStream(file, options.format)));
  const logger = pino(
    { level: options.level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    multistream(streams.map((entry) => ({ ...entry, level: "trace" }))),
  );
  if (problem && options.file?.required)
    logger.warn(`LOG_FILE ${options.file.path} cannot be written (${problem}); logging to the console only`);
  return logger;
}

function openLogFile(path: string, add: (file: { write(line: string): unknown }) => void): string | null {
  try {
    closeSync(openSync(path, "a"));
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? "unknown";
  }
  add(pino.destination({ dest: path, sync: true, append: true }));
  return null;
}

function lineStream(target: { write(line: string): unknown }, format: "text" | "json"): StreamEntry {
  return {
    stream: {
      write(line: string) {
        const clean = redact(line);
        target.write(format === "json" ? clean : textLine(clean));
      },
    },
  };
}

const NAMES: Record<number, string> = { 10: "TRACE", 20: "DEBUG", 30: "INFO ", 40: "WARN ", 50: "ERROR", 60: "FATAL" };

/** `2026-11-21T05:45:22.123Z INFO  message key=value …` from one of pino's JSON lines. */
function textLine(line: string): string {
  const { time, level, msg, err, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const fields = Object.entries(rest).map(
    ([key, value]) => ` ${key}=${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  const stack = err ? `\n${String((err as { stack?: unknown }).stack ?? JSON.stringify(err))}` : "";
  return `${time} ${NAMES[level as number] ?? level} ${msg ?? ""}${fields.join("")}${stack}\n`;
}
