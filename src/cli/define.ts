import type { Command } from "commander";

/** Gives a command what it does; it gives its exit code. */
export type Define = <Arguments extends unknown[]>(
  definition: Command,
  run: (...args: Arguments) => Promise<number>,
) => void;
