import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { type Env, type Exit, type Place, runMuster } from "../e2e/muster.ts";
import { BUILD_FLAGS } from "./build.ts";

/** The project's compose files, brought up as they are by podman-compose. */

const ROOT = join(import.meta.dirname, "../..");
const PROGRAM = join(ROOT, ".interop/compose/bin/podman-compose");
/** There is only the host's network here: every service is on it, and finds the coordinator by its name there. */
export const SHARED_NETWORK = `network_mode: host, extra_hosts: ["coordinator:127.0.0.1"]`;

/** Why no stack can be brought up here, or null. */
export function whyNoCompose(): string | null {
  return spawnSync(PROGRAM, ["--version"]).status === 0 ? null : "scripts/interop-setup installs podman-compose";
}

export interface Stack extends AsyncDisposable {
  up(...args: string[]): Promise<void>;
  down(...args: string[]): Promise<void>;
  /** `docker compose exec SERVICE COMMAND…`. */
  exec(service: string, ...command: string[]): Promise<Exit>;
  logs(service: string): Promise<string>;
}

export interface StackOptions {
  /** From the project's folder. */
  file: string;
  here: Place;
  env: Env;
  /** A second compose file (YAML): what this machine has in place of what the first one says. */
  override: string;
}

/** A stack of its own; gone with its volumes when disposed. */
export function stack({ file, here, env, override }: StackOptions): Stack {
  const project = `muster-test-${crypto.randomUUID().slice(0, 8)}`;
  const second = join(here.folder, "override.yml");
  writeFileSync(second, override);
  const args = ["-p", project, "-f", join(ROOT, file), "-f", second, `--podman-build-args=${BUILD_FLAGS.join(" ")}`];
  const variables = { ...process.env, ...env };
  const compose = async (...command: string[]) => {
    const { exitCode, all } = await execa(PROGRAM, [...args, ...command], {
      ...{ cwd: ROOT, env: variables, all: true, reject: false },
    });
    if (exitCode !== 0) throw new Error(`podman-compose ${command.join(" ")} failed:\n${all}`);
  };
  const container = (service: string) => `${project}_${service}_1`;
  return {
    up: (...more) => compose("up", "-d", ...more),
    down: (...more) => compose("down", ...more),
    exec: (service, ...command) => runMuster([container(service), ...command], {}, { command: ["podman", "exec"] }),
    logs: async (service) => (await execa("podman", ["logs", container(service)], { all: true })).all,
    [Symbol.asyncDispose]: () => compose("down", "--volumes", "--timeout", "0"),
  };
}
