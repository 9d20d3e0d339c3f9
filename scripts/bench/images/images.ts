import { closeSync, openSync, truncateSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { closedPort, MINILM, startTestCoordinator, type TestCoordinator, WEIGHTS } from "../../../test/e2e/services.ts";
import { type Hub, startHub } from "../../../test/fakes/hub/hub.ts";
import { sentenceTransformerRepo } from "../../../test/fakes/tiny-models.ts";
import { agentLayerBytes, buildEngines, buildImage, whyNoImages } from "../../../test/images/build.ts";
import { type Container, containerPlace, runContainer, startContainer } from "../../../test/images/container.ts";
import { until } from "../../../test/until.ts";
import { toDocument } from "../report/document.ts";
import { describeMachine, describeOrigin } from "../report/machine.ts";
import { DOCUMENT, type ImagesRound, KEPT_FIGURES, mergeWithKept, writeResults } from "../report/results.ts";
import { openWorkplace } from "../workplace.ts";

/** The image of the CPU worker under podman, from `podman run` on: `npm run bench:images`. */

const ROUNDS = 5;
const REST_MS = 10_000;
const LOOK_MS = 100;
const FETCHED_BYTES = 2 ** 31;
const MEMORY = "512m";

const why = whyNoImages();
if (why) {
  process.stderr.write(`${why}; ../shared/tools/container-engine.sh may make both\n`);
  process.exitCode = 1;
} else await run();

async function run(): Promise<void> {
  await using place = await openWorkplace();
  await buildEngines();
  const image = await buildImage("cpu", "worker");
  using large = containerPlace();
  const weights = join(large.folder, "weights");
  closeSync(openSync(weights, "w"));
  truncateSync(weights, FETCHED_BYTES);
  await using hub = await startHub();
  await using coordinator = await startTestCoordinator();
  hub.addRepo({ id: MINILM, files: sentenceTransformerRepo(MINILM) });
  using small = containerPlace();
  await runContainer({ image, volume: small.volume, env: settings(hub), command: ["muster", "sync"] });
  const rounds: ImagesRound[] = [];
  for (let round = 1; round <= ROUNDS; round += 1) {
    rounds.push(await measureStart({ image, volume: small.volume, hub, coordinator }));
    process.stdout.write(`round ${round} of ${ROUNDS}: ${JSON.stringify(rounds.at(-1))}\n`);
  }
  hub.removeRepo(MINILM);
  hub.addRepo({ id: MINILM, files: { ...sentenceTransformerRepo(MINILM), [WEIGHTS]: { path: weights } } });
  const fetchingRssMib = await measureFetch({ image, volume: large.volume, hub });
  const images = {
    ...(await describeOrigin(place)),
    layerBytes: await agentLayerBytes(image),
    rounds,
    fetchingRssMib,
  };
  const results = await mergeWithKept({ machine: await describeMachine(place), images });
  await writeResults(KEPT_FIGURES, results);
  await writeFile(DOCUMENT, toDocument(results));
}

interface Subject {
  image: string;
  volume: string;
  hub: Hub;
}

function settings(hub: Hub) {
  return { WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url };
}

/** All is on the volume. Milliseconds count from the start of `podman run`, or from the signal. */
async function measureStart({ image, volume, hub, coordinator }: Subject & { coordinator: TestCoordinator }) {
  const emptyFrom = performance.now();
  await runContainer({ image, volume, command: ["/usr/bin/tini", "--version"] });
  const emptyMs = since(emptyFrom);
  const port = await closedPort();
  const env = { ...settings(hub), ...coordinator.env, HTTP_PORT: String(port) };
  const from = performance.now();
  await using container = await startContainer({ image, volume, env });
  await until("/livez answers", () => isAlive(port), 60_000);
  const livezMs = since(from);
  await container.line(/Registered with the coordinator/);
  const registeredMs = since(from);
  await sleep(REST_MS);
  const restRssMib = await memoryOf(await pidOf(container), "VmRSS");
  const signalled = performance.now();
  container.kill("SIGTERM");
  await container.exited;
  return { emptyMs, livezMs, registeredMs, restRssMib, stopMs: since(signalled) };
}

/** Peak memory of muster in a container of MEMORY while it fetches FETCHED_BYTES, in MiB. */
async function measureFetch({ image, volume, hub }: Subject): Promise<number> {
  const flags = [`--memory=${MEMORY}`, `--memory-swap=${MEMORY}`];
  const command = ["muster", "sync", "--prefetch"];
  await using container = await startContainer({ image, volume, env: settings(hub), flags, command });
  await container.line(/Downloading/);
  const pid = await pidOf(container);
  let peak = 0;
  let ended = false;
  const end = container.exited.finally(() => {
    ended = true;
  });
  while (!ended) {
    // The high-water mark, until there is nobody any more who had one.
    peak = (await memoryOf(pid, "VmHWM")) || peak;
    await sleep(LOOK_MS);
  }
  const { code, stdout } = await end;
  if (code !== 0) throw new Error(`the fetch ended with ${code}:\n${stdout}`);
  return peak;
}

async function pidOf({ name }: Container): Promise<number> {
  const { stdout } = await execa("podman", ["top", name, "hpid", "args"]);
  return Number(/^(\d+)\s+\/opt\/muster\/bin\/node/m.exec(stdout)?.[1]);
}

/** In MiB; 0 where there is no such process any more. */
async function memoryOf(pid: number, key: "VmRSS" | "VmHWM"): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  return Math.round(Number(new RegExp(`${key}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1024);
}

function isAlive(port: number): Promise<boolean> {
  return fetch(`http://127.0.0.1:${port}/livez`).then(
    ({ ok }) => ok,
    () => false,
  );
}

function since(from: number): number {
  return Math.round(performance.now() - from);
}
