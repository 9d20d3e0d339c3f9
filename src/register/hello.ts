import { MusterError } from "../errors.ts";
import type { WorkerPayload } from "../protocol.ts";
import type { AgentStatus } from "../status.ts";
import type { JobDesk } from "./job-desk.ts";
import { modelReport } from "./model-report.ts";

type Hello = Extract<WorkerPayload, { t: "hello" }>;

/** How this worker introduces itself, from what stands on the board and lies on the desk. */
export function helloFrame(status: AgentStatus, desk: JobDesk): Hello {
  if (!status.hardware) {
    throw new MusterError("INTERNAL", "Registration began before the hardware was known.", {
      hint: "Report it with the output of `muster plan`.",
    });
  }
  const { gpus, driverVersion, cpu, memory } = status.hardware;
  return {
    t: "hello",
    workerId: status.workerId,
    bootId: status.bootId,
    agent: status.version,
    features: [],
    workerType: status.workerType,
    hardware: { gpus, driverVersion, cpu, memory },
    engines: status.engines,
    models: status.models.map(modelReport),
    ready: status.ready,
    ...desk.introduce(),
  };
}
