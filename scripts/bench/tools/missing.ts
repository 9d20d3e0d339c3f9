import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { PYTHON } from "./clients.ts";

/** How to get what may be missing. */
const SOURCES: Record<string, string> = {
  aria2c: "apt-get install aria2",
  bash: "apt-get install bash",
  curl: "apt-get install curl",
  nginx: "apt-get install nginx",
  openssl: "apt-get install openssl",
  "/usr/bin/time": "apt-get install time",
  [PYTHON]: "scripts/interop-setup",
};

/** What is said of a program that is not there. */
export async function findMissing(programs: Iterable<string>): Promise<Map<string, string>> {
  const missing = new Map<string, string>();
  for (const program of new Set(programs)) {
    if (await isThere(program)) continue;
    missing.set(program, `${program} is not there (${SOURCES[program] ?? "install it"})`);
  }
  return missing;
}

async function isThere(program: string): Promise<boolean> {
  const folders = program.includes("/") ? [""] : (process.env.PATH ?? "").split(delimiter);
  for (const folder of folders) {
    const found = await access(join(folder, program), constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return true;
  }
  return false;
}
