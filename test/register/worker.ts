import { pino } from "pino";
import type { Hardware } from "../../src/hardware.ts";
import type { Logger } from "../../src/log.ts";
import { createOutbox, type Outbox } from "../../src/register/outbox.ts";
import {
  type Command,
  type Registration,
  type RegistrationOptions,
  startRegistration,
} from "../../src/register/register.ts";
import { createStatusBoard, type StatusBoard } from "../../src/status.ts";
import { scriptedRunner } from "./scripted-runner.ts";

export const HARDWARE: Hardware = {
  gpus: [
    {
      index: 0,
      name: "Test GPU",
      uuid: "GPU-1",
      vendor: "nvidia",
      memoryTotalMiB: 24_576,
      memoryFreeMiB: 24_000,
      mig: false,
      unified: false,
      computeCapability: "8.6",
    },
  ],
  gpuVendor: "nvidia",
  driverVersion: "550.1",
  runtimeVersion: "12.4",
  cpu: { model: "Test CPU", cores: 8 },
  memory: { totalBytes: 64e9, availableBytes: 60e9, limitBytes: null },
  warnings: [],
};

export interface LogLine {
  level: number;
  msg: string;
  [field: string]: unknown;
}

/** A real logger whose lines are kept. */
export function keptLog(): { log: Logger; lines: LogLine[] } {
  const lines: LogLine[] = [];
  return { log: pino({ level: "debug" }, { write: (line) => void lines.push(JSON.parse(line)) }), lines };
}

/** An outbox that no process outlives. */
export function memoryOutbox(): Outbox {
  return createOutbox({ write: async () => true, close: async () => undefined });
}

export const quietLog: Logger = pino({ level: "silent" });

export interface TestWorker extends AsyncDisposable {
  board: StatusBoard;
  registration: Registration;
  outbox: Outbox;
  commands: Command[];
  lines: LogLine[];
}

/** A worker with hardware and no models, registering with short delays. Gone without a goodbye when disposed. */
export function startWorker(
  url: string,
  change: Partial<RegistrationOptions> & { workerId?: string; bootId?: string } = {},
): TestWorker {
  const { workerId = "worker-1", bootId = crypto.randomUUID(), ...options } = change;
  const board = createStatusBoard({ version: "1.2.3", workerId, bootId, workerType: "chat" });
  board.update({ hardware: HARDWARE });
  const { log, lines } = keptLog();
  const stop = new AbortController();
  const commands: Command[] = [];
  const { outbox = memoryOutbox() } = options;
  const registration = startRegistration({
    url,
    token: async () => null,
    board,
    diskFree: async () => 5e9,
    runner: scriptedRunner({ chat: 2 }),
    outbox,
    log,
    onCommand: (command) => commands.push(command),
    reconnect: { minMs: 1, maxMs: 20 },
    signal: stop.signal,
    ...options,
  });
  return {
    board,
    registration,
    outbox,
    commands,
    lines,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await registration.ended;
    },
  };
}
