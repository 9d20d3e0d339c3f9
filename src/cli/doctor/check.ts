/** One line of `muster doctor`. */
export interface Check {
  name: string;
  result: "ok" | "warn" | "fail";
  found: string;
  /** What to do, with the next command. */
  hint?: string;
  /** From the question to the whole answer, in milliseconds. */
  latencyMs?: number;
  /** How far the clock of who answered is ahead of this one's, in milliseconds; to the second. */
  clockAheadMs?: number;
}

/** For people, with what to do where something is. */
export function checkLine({ name, result, found, hint }: Check): string {
  const advice = hint && result !== "ok" ? `\n${" ".repeat(18)}→ ${hint}` : "";
  return `${result.padEnd(5)}${name.padEnd(13)}${found}${advice}`;
}

/** Roots of the system's own files; tests give others. */
export interface SystemRoots {
  proc: string;
  dev: string;
}

export const SYSTEM: SystemRoots = { proc: "/proc", dev: "/dev" };
