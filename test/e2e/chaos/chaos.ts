import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Random, seededRandom } from "../../../scripts/seeded-random.ts";
import { startNatsServer } from "../../coordinator/nats/nats-server.ts";
import { type Muster, type Place, place, startMuster } from "../muster.ts";
import { closedPort } from "../services.ts";
import { type CountingEngine, startCountingEngine } from "./counting-engine.ts";
import { type CuttingProxy, startCuttingProxy } from "./cutting-proxy.ts";

/**
 * A coordinator (on NATS three gateways, and nats-server), three workers and an engine with faults: jobs go through while
 * workers, coordinators and nats-server are killed, and sockets cut and stalled, in an order that the seed decides.
 */
export interface ChaosOptions {
  jobs: number;
  seed: number;
  store?: ChaosStore;
  /** Kills and cuts end after so long; else with the last job. */
  troubleMs?: number;
  /** A folder for what each process says, debug lines included. */
  logs?: string;
  say?: (line: string) => void;
}

export type ChaosStore = "sqlite" | "nats";

export interface ChaosReport {
  done: number;
  /** Codes of the errors that jobs ended with, and how many did. */
  failed: Record<string, number>;
  /** Jobs whose answer is another job's, or no answer. */
  wrong: string[];
  overlaps: string[];
  /** Runs that the engine began. */
  runs: number;
  events: Record<string, number>;
  seconds: number;
}

const WORKERS = 3;
const GATEWAYS = 3;
const SUBMITTED_AT_ONCE = 50;
const TERMS = ["--beat-ms", "300", "--lease-ms", "1500", "--grace-ms", "1500"];
const TOKEN = "coordinator-secret-0123456789";
const JSON_HEADERS = { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" };

interface JobAnswer {
  id: string;
  state: string;
  output: { choices?: { message?: { content?: string } }[] } | null;
  error: { code: string } | null;
}

export async function runChaos({
  jobs,
  seed,
  store = "sqlite",
  troubleMs,
  logs,
  say = () => undefined,
}: ChaosOptions): Promise<ChaosReport> {
  const startedAt = performance.now();
  const random = seededRandom(seed);
  await using stack = new AsyncDisposableStack();
  const engine = stack.use(await startCountingEngine(seededRandom(seed + 1)));
  const fleet = stack.use(await startFleet(engine, { random, store, logs }));
  const names = Array.from({ length: jobs }, (_, index) => `job-${index}`);
  const call = (path: string, init: RequestInit = {}) =>
    untilAnswered(() =>
      fetch(fleet.url + path, { headers: JSON_HEADERS, ...init, signal: AbortSignal.timeout(5_000) }),
    );

  const stop = new AbortController();
  const over = troubleMs === undefined ? stop.signal : AbortSignal.any([stop.signal, AbortSignal.timeout(troubleMs)]);
  const troubles = fleet.trouble(over, say);
  const answers = new Map<string, JobAnswer>();
  try {
    for (let first = 0; first < jobs; first += SUBMITTED_AT_ONCE) {
      const batch = names.slice(first, first + SUBMITTED_AT_ONCE);
      await Promise.all(batch.map((id, index) => call("/v1/jobs", { method: "POST", body: request(id, index) })));
    }
    say(`${jobs} jobs are in`);
    for (let left = names; left.length > 0; left = left.filter((id) => !answers.has(id))) {
      for (const id of left.slice(0, 200)) {
        const job = (await call(`/v1/jobs/${id}`)) as JobAnswer;
        if (["done", "failed", "cancelled"].includes(job.state)) answers.set(id, job);
      }
      say(`${answers.size} of ${jobs} have ended`);
      await sleep(200);
    }
  } finally {
    stop.abort();
  }
  const events = await troubles;
  const ended = [...answers.values()];
  const failed: Record<string, number> = {};
  for (const { error } of ended) if (error) failed[error.code] = (failed[error.code] ?? 0) + 1;
  return {
    done: ended.filter(({ state }) => state === "done").length,
    failed,
    wrong: ended.filter(isWrong).map(({ id }) => id),
    overlaps: engine.overlaps,
    runs: [...engine.runs.values()].reduce((sum, count) => sum + count, 0),
    events,
    seconds: (performance.now() - startedAt) / 1000,
  };
}

function request(id: string, index: number): string {
  const input = { messages: [{ role: "user", content: id }] };
  const trying = { maxAttempts: 100, timeoutMs: 600_000 };
  return JSON.stringify({ id, kind: "chat", model: "echo", input, stream: index % 3 === 0, ...trying });
}

function isWrong({ id, state, output, error }: JobAnswer): boolean {
  return state === "done" ? output?.choices?.[0]?.message?.content !== id : error === null;
}

/** The coordinator may be away just now. */
async function untilAnswered(ask: () => Promise<Response>): Promise<unknown> {
  for (;;) {
    const answer = await ask().catch(() => null);
    if (answer?.ok) return answer.json();
    if (answer && answer.status < 500 && answer.status !== 429)
      throw new Error(`${answer.status} ${await answer.text()}`);
    await sleep(50);
  }
}

interface Fleet extends AsyncDisposable {
  url: string;
  /** Until the signal; gives what was done, and how often. */
  trouble(signal: AbortSignal, say: (line: string) => void): Promise<Record<string, number>>;
}

interface Member {
  name: string;
  here: Place;
  proxy: CuttingProxy;
  agent: Muster;
}

async function startFleet(
  engine: CountingEngine,
  { random, store, logs }: { random: Random; store: ChaosStore; logs: string | undefined },
): Promise<Fleet> {
  if (logs !== undefined) mkdirSync(logs, { recursive: true });
  const logged = (name: string) => (logs === undefined ? {} : { log: join(logs, `${name}.log`) });
  const level = logs === undefined ? {} : { LOG_LEVEL: "debug" };
  await using starting = new AsyncDisposableStack();
  const nats = store === "nats" ? starting.use(await startNatsServer()) : null;
  const ports = await Promise.all(Array.from({ length: nats ? GATEWAYS : 1 }, () => closedPort()));
  // The load balancer: the next one that there is, whether it lives or not.
  let turn = 0;
  const nextPort = () => {
    turn += 1;
    return ports[turn % ports.length]!;
  };
  const shared = starting.use(place());
  const catalog = join(shared.folder, "types.json");
  const model = join(shared.folder, "echo");
  mkdirSync(model);
  writeFileSync(join(model, "config.json"), "{}");
  writeFileSync(join(model, "model.safetensors"), "not read by anybody here");
  const variant = { source: "path", path: model, engine: "openai", format: "safetensors" };
  const models = { echo: { task: "chat", variants: [variant] } };
  const types = { chaos: { gpu: "none", models: ["echo"], slots: { chat: 8 } } };
  writeFileSync(catalog, JSON.stringify({ models, workerTypes: types }));

  const startCoordinator = (port: number) => {
    const where = nats?.url ?? join(shared.folder, "jobs.db");
    const args = ["coordinator", "--listen", `127.0.0.1:${port}`, "--store", where, ...TERMS];
    const env = { ...shared.env, ...level, COORDINATOR_TOKEN: TOKEN };
    return startMuster(args, env, logged(`coordinator-${ports.indexOf(port) + 1}`));
  };
  const startWorker = ({ here, proxy, name }: Omit<Member, "agent">) => {
    const worker = { WORKER_TYPE: "chaos", WORKER_TYPES_FILE: catalog, OPENAI_URL: engine.url };
    const coordinator = { COORDINATOR_URL: `ws://127.0.0.1:${proxy.port}`, COORDINATOR_TOKEN: TOKEN };
    return startMuster(["start"], { ...here.env, ...level, ...worker, ...coordinator }, logged(name));
  };
  const coordinators = ports.map((port) => ({ port, process: startCoordinator(port) }));
  const members: Member[] = [];
  for (const coordinator of coordinators) starting.defer(() => coordinator.process[Symbol.asyncDispose]());
  const front = starting.use(await startCuttingProxy(nextPort));
  for (let index = 0; index < WORKERS; index += 1) {
    const here = starting.use(place());
    const proxy = starting.use(await startCuttingProxy(nextPort));
    const about = { name: `worker-${index + 1}`, here, proxy };
    const member = { ...about, agent: startWorker(about) };
    members.push(member);
    // Before its folder goes: a worker that lives would write there.
    starting.defer(() => member.agent[Symbol.asyncDispose]());
  }
  const running = starting.move();
  const troubles: Record<string, () => Promise<void>> = {
    "kill a worker": async () => {
      const member = random.oneOf(members);
      member.agent.kill("SIGKILL");
      await member.agent.exited;
      await sleep(random.between(0, 500));
      member.agent = startWorker(member);
    },
    "stop a worker": async () => {
      const member = random.oneOf(members);
      member.agent.kill("SIGTERM");
      await member.agent.exited;
      member.agent = startWorker(member);
    },
    "cut a worker's socket": async () => random.oneOf(members).proxy.cut(),
    "stall a worker's socket": async () => {
      const { proxy } = random.oneOf(members);
      proxy.stall();
      await sleep(random.between(200, 4_000));
      proxy.flow();
    },
    "restart the coordinator": async () => {
      const coordinator = random.oneOf(coordinators);
      coordinator.process.kill(random.oneOf(["SIGKILL", "SIGTERM"] as const));
      await coordinator.process.exited;
      await sleep(random.between(0, 300));
      coordinator.process = startCoordinator(coordinator.port);
    },
    ...(nats && {
      "kill nats-server": async () => {
        await nats.stop(random.oneOf(["SIGKILL", "SIGTERM"] as const));
        await sleep(random.between(0, 2_000));
        await nats.start();
      },
    }),
  };
  return {
    url: `http://127.0.0.1:${front.port}`,
    async trouble(signal, say) {
      const events: Record<string, number> = {};
      while (!signal.aborted) {
        await sleep(random.between(300, 1_500), undefined, { signal }).catch(() => undefined);
        if (signal.aborted) break;
        const what = random.oneOf(Object.keys(troubles));
        say(what);
        events[what] = (events[what] ?? 0) + 1;
        await troubles[what]!();
      }
      return events;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
