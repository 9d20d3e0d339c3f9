import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A folder of executables that stands alone in PATH, so that no tool of the machine is found. */
export interface FakeTools {
  path: string;
  /** Installs a shell script under the tool's name. */
  install(name: string, script: string): Promise<void>;
  /** Installs a tool that prints a fixture, chosen by a shell pattern over its arguments; "*" stands for any. */
  printing(name: string, answers: Record<string, string>): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export const fixture = (name: string) => join(import.meta.dirname, "fixtures", name);

export async function fakeTools(): Promise<FakeTools> {
  const path = await mkdtemp(join(tmpdir(), "muster-tools-"));
  const install = async (name: string, script: string) => {
    await writeFile(join(path, name), `#!/bin/sh\nPATH=/usr/bin:/bin\n${script}\n`);
    await chmod(join(path, name), 0o755);
  };
  return {
    path,
    install,
    printing: (name, answers) => {
      const cases = Object.entries(answers).map(([args, file]) => `${args}) cat "${fixture(file)}" ;;`);
      return install(name, `case "$*" in\n${cases.join("\n")}\n*) echo "unexpected: $*" >&2; exit 2 ;;\nesac`);
    },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}
