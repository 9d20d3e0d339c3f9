import type { MusterError } from "./errors.ts";
import type { KeepObserver } from "./fetch/keep-models.ts";
import { logProgress, observeAll } from "./fetch/progress-log.ts";
import { storedVariants } from "./fetch/stored-variants.ts";
import type { Hardware } from "./hardware.ts";
import type { Logger } from "./log.ts";
import type { ModelSpec, Variant } from "./model.ts";
import type { Command, GpuUsage, Registration } from "./register/register.ts";
import type { AskedModel } from "./remembered-models.ts";
import type { Selection } from "./select/select-models.ts";
import type { Catalog } from "./select/worker-types.ts";
import type { State } from "./state.ts";
import { isStored, type ModelStatus, type StatusBoard } from "./status.ts";
import type { Layout } from "./store/layout.ts";

/** What the steps of the agent mean for its status and its log. */
export interface AgentView {
  started(state: State, httpPort: number): void;
  detected(hardware: Hardware): void;
  selected(selection: Selection): void;
  /** One more of this worker's models, in the variant that was chosen for it. */
  chosen(spec: ModelSpec): void;
  /** It is none of this worker's models any more. */
  removed(id: string): void;
  readonly observer: KeepObserver;
  registering(registration: Registration, onRefused: () => void): void;
  /** Why the coordinator wants this worker no more. */
  readonly refusal: MusterError | null;
  obey(command: Command, actions: Actions): void;
  /** Memory of the GPUs, looked at once a minute: asking the driver is not free. Notices when one is gone. */
  gpuUsage(look: () => Promise<Hardware>): Promise<GpuUsage>;
  /** Settles when all required models are stored for the first time, or at the signal. */
  ready(signal: AbortSignal): Promise<void>;
  draining(why: string): void;
}

/** What the agent does when it is asked to. */
export interface Actions {
  drain(): void;
  sync(): void;
  ensure(models: AskedModel[]): void;
  remove(names: string[]): void;
}

const GPU_LOOK_MS = 60_000;

export function createAgentView({
  board,
  log,
  catalog,
  layout,
}: {
  board: StatusBoard;
  log: Logger;
  catalog: Catalog;
  layout: Layout;
}): AgentView {
  let refusal: MusterError | null = null;
  /** Models that are, or were, this worker's by its own account. */
  const own = new Set<string>();
  let gpuLook: { at: number; usage: GpuUsage } | null = null;

  board.onChange(({ kind }) => {
    if (kind === "agent" && board.current.state !== told) {
      told = board.current.state;
      if (told === "ready") log.info("Ready: every required model is on the volume");
    }
  });
  let told = board.current.state;

  /** How a stored model fares with its engine, the engine tells; another look at the volume takes nothing from that. */
  const onVolume = (id: string): Pick<ModelStatus, "state" | "error"> => {
    const before = board.current.models.find((model) => model.id === id);
    return before && isStored(before.state)
      ? { state: before.state, error: before.error }
      : { state: "stored", error: null };
  };

  /** Models that other processes stored and this catalog knows: the coordinator may want to know what is warm. */
  const reportOthers = async () => {
    const others = [...catalog.models.values()].filter(({ id }) => !own.has(id));
    const stored = await storedVariants(
      others.flatMap(({ variants }) => variants),
      layout,
    );
    for (const { id, variants } of others) {
      const variant = variants.find((each) => stored.has(each));
      const model = variant && stored.get(variant);
      if (variant && model) {
        board.setModel(id, {
          ...describeVariant(variant),
          required: false,
          state: "stored",
          bytesDone: model.bytes,
          bytesTotal: model.bytes,
          revision: model.revision,
        });
      }
    }
  };
  const look = () => {
    reportOthers().catch((error: unknown) => log.debug({ err: error }, "Looking for other models failed"));
  };

  const toBoard: KeepObserver = {
    onProgress({ spec, state, bytesDone, bytesTotal, rate, revision, error }) {
      const fares = state === "stored" ? onVolume(spec.id) : { state, error: error?.toJSON() ?? null };
      board.setModel(spec.id, { ...fares, bytesDone, bytesTotal, rate, revision });
    },
    onNote: () => undefined,
    onVolumeChange: look,
  };

  const chosen = (spec: ModelSpec) => {
    own.add(spec.id);
    log.info(`Selected ${spec.id} as ${spec.variant.id}: ${spec.reason}`);
    warnOfLittleFree(spec, board.current.hardware, log);
    board.setModel(spec.id, {
      ...describeVariant(spec.variant),
      ...{ required: spec.required, state: "requested", error: null },
    });
  };

  return {
    observer: observeAll({ ...logProgress(log), onVolumeChange: () => undefined }, toBoard),
    get refusal() {
      return refusal;
    },
    started(state, httpPort) {
      const { version, workerType, workerId } = board.current;
      log.info(`muster ${version} starts as ${workerId}, worker type ${workerType}, status on port ${httpPort}`);
      if (state.temporaryIdentity) {
        log.warn(
          `Another agent runs on ${state.folder}; this one goes by ${workerId} until it ends. Set WORKER_ID or STATE_DIR for each`,
        );
      }
    },
    detected(hardware) {
      for (const warning of hardware.warnings) log.warn(warning);
      for (const { name, memoryTotalMiB, memoryFreeMiB } of hardware.gpus) {
        log.info(`Detected ${name}: ${gib(memoryTotalMiB)} of memory, ${gib(memoryFreeMiB)} free`);
      }
      const { cpu, memory } = hardware;
      const none = hardware.gpus.length === 0 ? "no GPU, " : "";
      log.info(`Detected ${none}${cpu.cores} CPU cores, ${(memory.totalBytes / 2 ** 30).toFixed(1)} GiB of memory`);
      board.update({ hardware });
    },
    selected({ workerType, models, notices }) {
      for (const notice of notices) log.warn(notice);
      for (const spec of models) chosen(spec);
      board.update({
        workerType: workerType.id,
        state: board.current.state === "starting" ? "syncing" : board.current.state,
      });
      look();
    },
    registering({ ended }, onRefused) {
      ended
        .then((error) => {
          refusal = error;
          if (error) {
            log.fatal({ code: error.code, hint: error.hint }, error.message);
            onRefused();
          }
        })
        .catch(onRefused);
    },
    chosen,
    removed(id) {
      log.info(`Removed ${id} from this worker; what stands on the volume stays`);
      board.removeModel(id);
    },
    obey(command, actions) {
      log.info(`Asked to ${command.type}${"models" in command ? ` ${command.models.join(", ")}` : ""}`);
      if (command.type === "drain" || command.type === "sync") actions[command.type]();
      else if (command.type === "remove") actions.remove(command.models);
      else if (command.type === "ensure") {
        const { models, options } = command;
        actions.ensure(models.map((reference) => ({ reference, options: options[reference] ?? {} })));
      }
      // Who is leaving stays on the way out.
      else if (board.current.state !== "draining") {
        board.update({ state: command.type === "pause" ? "paused" : "syncing" });
      }
    },
    async gpuUsage(look) {
      const atStart = board.current.hardware?.gpus ?? [];
      if (atStart.length === 0) return [];
      if (gpuLook && performance.now() - gpuLook.at < GPU_LOOK_MS) return gpuLook.usage;
      const { gpus } = await look();
      const lostGpus = atStart.filter(({ uuid }) => !gpus.some((gpu) => gpu.uuid === uuid)).map(({ uuid }) => uuid);
      if (lostGpus.join() !== board.current.lostGpus.join()) {
        log.error(lostGpus.length > 0 ? `GPU ${lostGpus.join(", ")} is gone` : "All GPUs are back");
        board.update({ lostGpus });
      }
      const usage = gpus.map(({ uuid, memoryTotalMiB, memoryFreeMiB }) => ({
        uuid,
        memoryFreeMiB,
        memoryUsedMiB: memoryTotalMiB === null || memoryFreeMiB === null ? null : memoryTotalMiB - memoryFreeMiB,
        utilization: null,
      }));
      gpuLook = { at: performance.now(), usage };
      return usage;
    },
    ready(signal) {
      return new Promise((resolve) => {
        const settle = () => {
          if (!board.current.ready && !signal.aborted) return;
          unsubscribe();
          resolve();
        };
        const unsubscribe = board.onChange(settle);
        signal.addEventListener("abort", settle, { once: true });
        settle();
      });
    },
    draining(why) {
      if (board.current.state === "draining") return;
      log.info(`Draining: ${why}`);
      board.update({ state: "draining" });
    },
  };
}

function describeVariant({ id, source, location, engine }: Variant) {
  return { variant: id, source, location, engine };
}

/** The plan reckons with a GPU's whole memory; what others hold of it now matters when the engine starts. */
function warnOfLittleFree(spec: ModelSpec, hardware: Hardware | null, log: Logger): void {
  for (const index of spec.gpus) {
    const gpu = hardware?.gpus[index];
    if (
      !gpu ||
      gpu.memoryFreeMiB === null ||
      gpu.memoryTotalMiB === null ||
      gpu.memoryFreeMiB >= 0.9 * gpu.memoryTotalMiB
    )
      continue;
    log.warn(
      `GPU ${gpu.index} has only ${gib(gpu.memoryFreeMiB)} of ${gib(gpu.memoryTotalMiB)} free: another process uses it`,
    );
  }
}

function gib(mib: number | null): string {
  return mib === null ? "an unknown amount" : `${(mib / 1024).toFixed(1)} GiB`;
}
