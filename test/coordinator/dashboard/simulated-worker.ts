import type { ModelReport } from "../../../src/protocol.ts";
import { beat, hello, openRawWorker, type RawWorker } from "../raw-worker.ts";

/** Workers with cards and models, for the dashboard to show: real connections, invented values. */

export interface Card {
  name: string;
  totalGiB: number;
  usedGiB: number;
  utilization?: number;
}

export interface FleetWorkerOptions {
  id: string;
  type?: string;
  cards?: Card[];
  models?: ModelReport[];
  slots?: number;
  token?: string;
  engines?: Parameters<typeof hello>[0] extends infer H ? (H extends { engines?: infer E } ? E : never) : never;
}

export function model(name: string, change: Partial<ModelReport> = {}): ModelReport {
  return {
    ...{
      model: name,
      source: "huggingface",
      location: `acme/${name}`,
      variant: "fp16",
      revision: "main",
      required: true,
    },
    ...{ state: "ready", bytesDone: 14e9, bytesTotal: 14e9, rate: 0, errorCode: null },
    ...change,
  };
}

export interface FleetWorker extends RawWorker {
  id: string;
  /** Tells how it is; numbers its beats itself. `seen`: how many of its cards it still sees. */
  beat(change?: Parameters<typeof beat>[1] & { busy?: number; seen?: number }): void;
  model(name: string, change?: Partial<ModelReport>): void;
}

/** Says hello; what follows is told by the test. */
export async function joinFleet(url: string, options: FleetWorkerOptions): Promise<FleetWorker> {
  const { id, type = "gpu-worker", cards = [], models = [], slots = 4, token, engines = [] } = options;
  const worker = await openRawWorker(url, token);
  const mib = (gib: number) => Math.round(gib * 1024);
  const uuid = (index: number) => `GPU-${id}-${index}`;
  worker.send(
    hello({
      ...{
        workerId: id,
        bootId: `boot-${id}`,
        agent: "0.1.0",
        workerType: type,
        models,
        engines,
        slots: { chat: slots },
      },
      hardware: {
        gpus: cards.map(({ name, totalGiB, usedGiB }, index) => ({
          ...{ index, name, uuid: uuid(index), vendor: "nvidia", mig: false, unified: false, computeCapability: "9.0" },
          ...{ memoryTotalMiB: mib(totalGiB), memoryFreeMiB: mib(totalGiB - usedGiB) },
        })),
        driverVersion: cards.length > 0 ? "570.86" : null,
        cpu: { model: "AMD EPYC 9354", cores: 32 },
        memory: { totalBytes: 256 * 2 ** 30, availableBytes: 200 * 2 ** 30, limitBytes: null },
      },
    }),
  );
  let beats = 0;
  return {
    ...worker,
    id,
    beat({ busy = 0, seen = cards.length, ...change } = {}) {
      beats += 1;
      const gpus = cards.slice(0, seen).map(({ totalGiB, usedGiB, utilization = 0 }, index) => ({
        ...{ uuid: uuid(index), memoryUsedMiB: mib(usedGiB), memoryFreeMiB: mib(totalGiB - usedGiB), utilization },
      }));
      const vitals = { gpus, slotsFree: { chat: slots - busy }, diskFreeBytes: 812e9, loopLagMs: 1.4 };
      worker.send(beat(beats, { ...vitals, ...change }));
    },
    model(name, change) {
      const { model: _, ...rest } = model(name);
      worker.send({ t: "model.state", model: name, ...rest, ...change });
    },
    [Symbol.dispose]: () => worker[Symbol.dispose](),
  };
}
