import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type NatsLink, type NatsOptions, openLink } from "../../../src/coordinator/nats/link.ts";
import { closedPort } from "../../e2e/services.ts";
import { quietLog } from "../../register/worker.ts";
import { until } from "../../until.ts";

const PROGRAM = ["/usr/sbin/nats-server", "nats-server"].find((path) => spawnSync(path, ["--version"]).status === 0);

/** Where there is no nats-server: `apt-get install nats-server` brings it. */
export const withoutNats = PROGRAM === undefined;
if (withoutNats) process.stderr.write("nats-server is not installed: tests with NATS are skipped\n");

/** A real nats-server with JetStream, its files in a folder of its own. */
export interface NatsServer extends AsyncDisposable {
  url: string;
  /** kill -9 by default. Settles when it has ended. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  start(): Promise<void>;
  /** For a gateway of its own fleet. */
  options(change?: Partial<NatsOptions>): NatsOptions;
  /** A link that is closed with the server. */
  link(prefix: string): Promise<NatsLink>;
}

export async function startNatsServer(config = ""): Promise<NatsServer> {
  const folder = mkdtempSync(join(tmpdir(), "muster-nats-"));
  const port = await closedPort();
  const file = join(folder, "nats.conf");
  const store = `jetstream { store_dir: ${JSON.stringify(join(folder, "jetstream"))} }`;
  writeFileSync(file, `listen: "127.0.0.1:${port}"\n${store}\n${config}\n`);
  const links: NatsLink[] = [];
  const launch = () => spawn(PROGRAM!, ["--config", file], { stdio: ["ignore", "ignore", "pipe"] });
  let server = launch();
  let said = "";
  const listen = async () => {
    said = "";
    server.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    await until("nats-server is ready", async () => /Server is ready/.test(said) && (await isOpen(port)));
  };
  await listen();
  const url = `nats://127.0.0.1:${port}`;
  const options = (change: Partial<NatsOptions> = {}): NatsOptions => ({
    ...{ servers: [url], credentials: {}, ca: null, replicas: 1, prefix: `t${crypto.randomUUID().slice(0, 8)}` },
    ...change,
  });
  const stop = async (signal: NodeJS.Signals = "SIGKILL") => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    server.kill(signal);
    await once(server, "exit");
  };
  return {
    ...{ url, options, stop },
    async start() {
      server = launch();
      await listen();
    },
    async link(prefix) {
      const link = await openLink(options({ prefix }), quietLog);
      links.push(link);
      return link;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(links.map((link) => link.close()));
      await stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function isOpen(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  const opened = await once(socket, "connect").then(
    () => true,
    () => false,
  );
  socket.destroy();
  return opened;
}
