import { closeSync, openSync } from "node:fs";
import { type Logger, multistream, pino, type StreamEntry } from "pino";
import { redactData } from "./redact.ts";
import type { LogLevel } from "./settings/settings.ts";

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
  const console = lossy({ dest: options.fd });
  const streams: StreamEntry[] = [lineStream(console, options.format)];
  const problem =
    options.file && openLogFile(options.file.path, (file) => streams.push(lineStream(file, options.format)));
  const logger = pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
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
  add(lossy({ dest: path, append: true }));
  return null;
}

/** A full disk under the log is no reason to end a worker: it loses lines, and goes on with them when there is room. */
function lossy(options: { dest: string | number; append?: boolean }) {
  const destination = pino.destination({ ...options, sync: true, maxLength: 1 << 20 });
  destination.on("error", () => undefined);
  return destination;
}

function lineStream(target: { write(line: string): unknown }, format: "text" | "json"): StreamEntry {
  return {
    stream: {
      write(line: string) {
        const fields = redactData(JSON.parse(line) as Record<string, unknown>);
        target.write(format === "json" ? `${JSON.stringify(fields)}\n` : textLine(fields));
      },
    },
  };
}

/** `2026-11-21T05:45:22.123Z INFO  message key=value …` from the fields of one of pino's lines. */
function textLine({ time, level, msg, err, ...rest }: Record<string, unknown>): string {
  const fields = Object.entries(rest).map(
    ([key, value]) => ` ${key}=${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  const stack = err ? `\n${String((err as { stack?: unknown }).stack ?? JSON.stringify(err))}` : "";
  return `${time} ${String(level).toUpperCase().padEnd(5)} ${msg ?? ""}${fields.join("")}${stack}\n`;
}
