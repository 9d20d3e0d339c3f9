import { type Config, parseConfig } from "../config.ts";
import { createLogger, type Logger } from "../log.ts";

export interface GlobalOptions {
  json?: boolean;
}

interface SetupOptions {
  logTo: "stdout" | "stderr";
  logFile: boolean;
  quiet?: boolean;
  /** Log lines as JSON, whatever LOG_FORMAT says: for commands whose log is what they print. */
  jsonLog?: boolean;
}

/** The configuration and a logger for a command. Commands whose output is data log to standard error. */
export function setup(options: SetupOptions): { config: Config; log: Logger } {
  const config = parseConfig(process.env);
  const log = createLogger({
    level: options.quiet && config.logLevel === "info" ? "warn" : config.logLevel,
    format: options.jsonLog ? "json" : config.logFormat,
    fd: options.logTo === "stdout" ? 1 : 2,
    file: options.logFile ? config.logFile : null,
  });
  for (const warning of config.warnings) log.warn(warning);
  return { config, log };
}
