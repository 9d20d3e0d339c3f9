import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { answering, openClient } from "../fleet/client.ts";
import { type Dispatch, measureDispatch } from "../fleet/measure-dispatch.ts";
import { BEAT_MS, startWorkers } from "../fleet/start-workers.ts";
import { toDocument } from "../report/document.ts";
import { describeMachine, describeOrigin } from "../report/machine.ts";
import { DOCUMENT, type GatewaysRound, KEPT_FIGURES, mergeWithKept, writeResults } from "../report/results.ts";
import { buildMuster } from "../tools/muster.ts";
import { bareEnvironment } from "../tools/tool.ts";
import { openWorkplace, ROOT, type Workplace } from "../workplace.ts";

/** What a second gateway brings that shares NATS with the first: `npm run bench:gateways`. */

const FULL = { workers: "1000", rounds: "3", share: "1" };
const USAGE = `usage: npm run bench:gateways -- [--workers N] [--rounds N] [--share S]
  --workers N  simulated workers, spread over the gateways, ${FULL.workers}
  --rounds N   ${FULL.rounds}
  --share S    of the usual number of jobs, ${FULL.share}
It needs nats-server. Figures of full size go to docs/benchmarks.json and docs/benchmarks.md; those of a trial are printed only.
`;
const NATS = ["/usr/sbin/nats-server", "nats-server"].find((path) => spawnSync(path, ["--version"]).status === 0);

const { values } = parseArgs({
  options: {
    workers: { type: "string", default: FULL.workers },
    rounds: { type: "string", default: FULL.rounds },
    share: { type: "string", default: FULL.share },
    help: { type: "boolean", short: "h" },
  },
});
if (values.help) process.stdout.write(USAGE);
else if (NATS === undefined) {
  process.stderr.write("nats-server is not installed: `apt-get install nats-server`\n");
  process.exitCode = 1;
} else await run(NATS);

async function run(nats: string): Promise<void> {
  const [workers, rounds, share] = [Number(values.workers), Number(values.rounds), Number(values.share)];
  await using place = await openWorkplace();
  await buildMuster(place, join(place.folder, "scratch"));
  const measured: GatewaysRound[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    const measure = (gateways: number) => measureGateways(place, { nats, workers, share, gateways });
    // Whoever is first may find the machine in another state.
    const [first, second] = round % 2 === 1 ? [1, 2] : [2, 1];
    const figures = new Map([[first, await measure(first!)] as const, [second, await measure(second!)] as const]);
    measured.push({ one: figures.get(1)!, two: figures.get(2)! });
    process.stdout.write(`round ${round} of ${rounds}: ${JSON.stringify(measured.at(-1))}\n`);
  }
  const isTrial = workers < Number(FULL.workers) || rounds < Number(FULL.rounds) || share < Number(FULL.share);
  if (isTrial) return;
  const server = (await place.run([nats, "--version"])).trim().replace(": ", " ");
  const gateways = { ...(await describeOrigin(place)), server, workers, rounds: measured };
  const results = await mergeWithKept({ machine: await describeMachine(place), gateways });
  await writeResults(KEPT_FIGURES, results);
  await writeFile(DOCUMENT, toDocument(results));
}

interface Setting {
  nats: string;
  workers: number;
  share: number;
  gateways: number;
}

/** With a nats-server, gateways and workers of its own, so that no figure depends on what came before. */
async function measureGateways(place: Workplace, { nats, workers, share, gateways }: Setting): Promise<Dispatch> {
  const folder = await mkdtemp(join(place.folder, "gateways-"));
  const firstPort = 20_000 + Math.floor(Math.random() * 10_000);
  const config = join(folder, "nats.conf");
  await writeFile(config, `listen: "127.0.0.1:${firstPort}"\njetstream { store_dir: ${JSON.stringify(folder)} }\n`);
  const server = place.start([nats, "--config", config], { stdio: "ignore" });
  await listening(firstPort, place.signal);
  const addresses = Array.from({ length: gateways }, (_, index) => `127.0.0.1:${firstPort + 1 + index}`);
  const coordinators = addresses.map((address) => {
    const args = ["--listen", address, "--store", `nats://127.0.0.1:${firstPort}`, "--beat-ms", String(BEAT_MS)];
    const env = bareEnvironment({ LOG_LEVEL: "warn", MODEL_CACHE_DIR: folder, STATE_DIR: folder });
    return place.start([process.execPath, join(ROOT, "dist", "muster.js"), "coordinator", ...args], { env });
  });
  for (const address of addresses) await answering(`http://${address}/readyz`, place.signal);
  const fleet = await startWorkers(place, { addresses, workers });
  const client = openClient(addresses);
  const dispatch = await measureDispatch(client, share);
  await client.close();
  for (const child of [fleet, ...coordinators, server]) await place.stop(child);
  return dispatch;
}

async function listening(port: number, signal: AbortSignal): Promise<void> {
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    const isOpen = await once(socket, "connect").then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isOpen) return;
    await sleep(50, undefined, { signal });
  }
}
