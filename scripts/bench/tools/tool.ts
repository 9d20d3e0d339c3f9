import type { MadeSet } from "../hub/data.ts";
import { repoOf, resolvePath } from "../hub/site.ts";

/** What a tool has to do: fetch all files of the set from the hub at `endpoint` into the folder. */
export interface Task {
  set: MadeSet;
  endpoint: string;
  /** Empty, but on a warm run. */
  folder: string;
  /** For what the tool needs beside it: lists, a catalog. */
  scratch: string;
  /** PEM file of the authority behind an https endpoint. */
  authority: string | null;
}

export interface Command {
  argv: string[];
  env: Record<string, string>;
}

export interface Tool {
  name: string;
  /** Programs it cannot do without; where one is missing the tool is left out. */
  needs: string[];
  /** Whether the files have to be in the folder when it has ended. */
  fetches: boolean;
  command(task: Task): Command | Promise<Command>;
}

/** Nothing of the operator's environment steers a tool, but where programs are. */
export function bareEnvironment(more: Record<string, string> = {}): Record<string, string> {
  return { PATH: process.env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/nonexistent", LC_ALL: "C", ...more };
}

/** Address of a file of the set. */
export function urlOf({ set, endpoint }: Task, path: string): string {
  return `${endpoint}${resolvePath(repoOf(set), path)}`;
}

/** A shell line; `args` are its $1, $2 and so on. A failure in the middle of a pipe fails it. */
export function shell(line: string, ...args: string[]): Command {
  return { argv: ["bash", "-o", "pipefail", "-ec", line, "bash", ...args], env: bareEnvironment() };
}
