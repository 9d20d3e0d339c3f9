import { join } from "node:path";
import { makeCertificates } from "../hub/certificates.ts";
import { makeData } from "../hub/data.ts";
import { startNginx } from "../hub/nginx.ts";
import { repoOf, writeSite } from "../hub/site.ts";
import { percentile } from "../report/medians.ts";
import type { JobsRound } from "../report/results.ts";
import type { Workplace } from "../workplace.ts";
import { during } from "./at-once.ts";
import { startBenchCoordinator } from "./bench-coordinator.ts";
import { startBenchWorker } from "./bench-worker.ts";
import { BUSY } from "./busy.ts";
import { chat } from "./chat.ts";

/** Often, so that there are many to take a percentile of. */
const BEAT_MS = 100;
const MIB = 2 ** 20;

export interface Hub {
  endpoint: string;
  repo: string;
  bytes: number;
}

/** A hub with one large file. */
export async function startLargeHub(place: Workplace, mib: number): Promise<Hub> {
  const files = [{ path: "model.safetensors", size: mib * MIB }];
  const set = await makeData({ name: "large", files }, join(place.folder, "data"), place.signal);
  const site = await writeSite(join(place.folder, "site"), [set]);
  const nginx = await startNginx(place, { site, certificates: await makeCertificates(place) });
  return { endpoint: `http://127.0.0.1:${nginx.ports.plain}`, repo: repoOf(set).id, bytes: set.bytes };
}

type Beats = Pick<JobsRound, "beatLatenessP50Ms" | "beatLatenessP99Ms" | "downloadMibPerSecond" | "peakRssMib">;

/** How late beats come while a large file is fetched at full speed and many answers stream. */
export async function measureBeats(place: Workplace, engine: string, hub: Hub): Promise<Beats> {
  await using coordinator = await startBenchCoordinator(BEAT_MS);
  const folder = join(place.folder, `beats-${crypto.randomUUID()}`);
  await using worker = await startBenchWorker(place, {
    ...{ folder, engine, coordinator: coordinator.url, slots: BUSY.streams, download: hub },
  });
  await coordinator.ready;
  const startedAt = performance.now();
  const doneAtStart = coordinator.downloaded();
  let endedAt = 0;
  const stored = coordinator.stored.then(() => {
    endedAt = performance.now();
  });
  coordinator.beats.length = 0;
  const stream = { input: chat(BUSY.perSecond / 2, BUSY.perSecond), stream: true };
  await Promise.all([
    stored,
    during(
      BUSY.streams,
      () => endedAt === 0,
      () => coordinator.run(stream),
    ),
  ]);
  const late = coordinator.beats.map((gap) => Math.max(0, gap - BEAT_MS));
  return {
    beatLatenessP50Ms: percentile(late, 50),
    beatLatenessP99Ms: percentile(late, 99),
    downloadMibPerSecond: (hub.bytes - doneAtStart) / MIB / ((endedAt - startedAt) / 1000),
    peakRssMib: await worker.peakRssMib(),
  };
}
