import { chownSync } from "node:fs";
import { execa } from "execa";
import {
  EMPTY_REGISTRY,
  type Env,
  type Exit,
  type Muster,
  type Place,
  place,
  runMuster,
  startMuster,
} from "../e2e/muster.ts";
import { closedPort } from "../e2e/services.ts";

/** A place whose volume belongs to the user of the images, as docs/operations.md has it made. */
export function containerPlace(env: Env = {}): Place {
  const here = place(env);
  chownSync(here.volume, 1000, 1000);
  return here;
}

export interface ContainerOptions {
  image: string;
  /** Host folder that becomes /models; null for none. */
  volume: string | null;
  env?: Env;
  /** Further flags of `podman run`. */
  flags?: string[];
  /** In place of what the image would run. */
  command?: string[];
}

export interface Container extends Muster {
  name: string;
  /** `docker exec NAME COMMAND…`. */
  exec(...command: string[]): Promise<Exit>;
  /** `docker stop`: its signal, and time to end. */
  stop(seconds: number): Promise<void>;
}

/** `docker run …` in the foreground; gone when disposed. It shares the host's network, which is all there is here. */
export async function startContainer(options: ContainerOptions): Promise<Container> {
  const name = `muster-test-${crypto.randomUUID().slice(0, 8)}`;
  const { image, command = [] } = options;
  const run = startMuster([...(await runFlags(name, options)), image, ...command], {}, { command: ["podman", "run"] });
  return {
    ...run,
    name,
    exec: (...args) => runMuster([name, ...args], {}, { command: ["podman", "exec"] }),
    async stop(seconds) {
      await execa("podman", ["stop", "--time", String(seconds), name]);
    },
    async [Symbol.asyncDispose]() {
      await execa("podman", ["rm", "--force", "--volumes", "--time", "0", "--ignore", name]);
      await run[Symbol.asyncDispose]();
    },
  };
}

/** Runs a command in a container to its end. */
export async function runContainer(options: ContainerOptions): Promise<Exit> {
  await using container = await startContainer(options);
  return await container.exited;
}

async function runFlags(name: string, { volume, env = {}, flags = [] }: ContainerOptions): Promise<string[]> {
  // Each has a network of its own elsewhere; here the ports have to differ.
  const ollama = `127.0.0.1:${await closedPort()}`;
  const own = { HTTP_PORT: "0", OLLAMA_HOST: ollama, OLLAMA_URL: `http://${ollama}` };
  const variables = { ...own, OLLAMA_REGISTRY: EMPTY_REGISTRY, ...env };
  return [
    ...["--name", name, "--rm", "--network=host", "--pull=never"],
    // It is systemd that would run them; tests do it by hand.
    ...(flags.some((flag) => flag.startsWith("--health")) ? [] : ["--no-healthcheck"]),
    ...(volume ? ["--volume", `${volume}:/models`] : []),
    ...Object.entries(variables).flatMap(([variable, value]) => ["--env", `${variable}=${value}`]),
    ...flags,
  ];
}
