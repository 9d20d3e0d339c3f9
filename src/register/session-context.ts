import type { Logger } from "../log.ts";
import type { ModelOptions } from "../protocol.ts";
import type { StatusBoard } from "../status.ts";
import type { JobDesk } from "./job-desk.ts";
import type { Vitals } from "./vitals.ts";

/** What a coordinator may ask of the agent as a whole. */
export type Command =
  | { type: "drain" | "pause" | "resume" | "sync" }
  | { type: "ensure"; models: string[]; options: Record<string, ModelOptions> }
  | { type: "remove"; models: string[] };

export interface SessionContext {
  url: string;
  board: StatusBoard;
  desk: JobDesk;
  vitals: Vitals;
  log: Logger;
  /** Must return at once; the agent does the work on its own time. */
  onCommand: (command: Command) => void;
  helloTimeoutMs: number;
}
