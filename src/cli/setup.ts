import { type Config, parseConfig } from "../config.ts";
import { createLogger, type Logger } from "../log.ts";

export interface GlobalOptions {
  json?: boolean;
}

/** The configuration and a logger for a command. Commands whose output is data log to standard error. */
export function setup(options: { logTo: "stdout" | "stderr"; logFile: boolean; quiet?: boolean }): {
  config: Config;
  log: Logger;
} {
  const config = parseConfig(process.env);
  const log = createLogger({
    level: options.quiet && config.logLevel === "info" ? "warn" : config.logLevel,
    format: config.logFormat,
    fd: options.logTo === "stdout" ? 1 : 2,
    file: options.logFile ? config.logFile : null,
  });
  for (const warning of config.warnings) log.warn(warning);
  return { config, log };
}
