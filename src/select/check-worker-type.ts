import { JOB_KINDS, takesKind } from "../model.ts";
import type { Condition } from "./catalog-schema.ts";
import type { Finding } from "./finding.ts";
import { smallestMachine } from "./smallest-machine.ts";
import type { ModelReference, WorkerType } from "./worker-types.ts";

/** What is odd about one worker type of a catalog. */
export function checkWorkerType(type: WorkerType): Finding[] {
  const path = ["workerTypes", type.id];
  const findings = [
    ...type.models.flatMap((reference, index) =>
      [conditionFinding(reference, type), cardlessFinding(reference, type), idleFinding(reference, type)].flatMap(
        (finding) => (finding ? [{ ...finding, path: ["models", index, ...finding.path] }] : []),
      ),
    ),
    ...twiceFindings(type),
    ...slotFindings(type),
  ];
  const isHopeless = findings.some(({ level }) => level === "fail");
  const machine = isHopeless ? null : smallestMachine(type);
  if (machine && "reason" in machine) {
    const found = `its required models fit together on no machine: ${machine.reason}`;
    findings.push({ level: "fail", path: ["models"], found, hint: "Make some optional, or add smaller variants." });
  }
  return findings.map((finding) => ({ ...finding, path: [...path, ...finding.path] }));
}

/** Pairs of a least and a most that no machine can be between. */
const RANGES = [
  ["minGpuMemoryGb", "maxGpuMemoryGb"],
  ["minTotalGpuMemoryGb", "maxTotalGpuMemoryGb"],
] as const satisfies readonly [keyof Condition, keyof Condition][];

function conditionFinding({ model, when }: ModelReference, type: WorkerType): Finding | null {
  const range = RANGES.find(([least, most]) => (when[least] ?? 0) >= (when[most] ?? Number.POSITIVE_INFINITY));
  const never = (path: string, why: string): Finding => {
    const hint = `Correct the condition; ${model.id} is never taken.`;
    return { level: "fail", path: ["when", path], found: why, hint };
  };
  if (range) return never(range[1], `no machine has ${range[0]} ${when[range[0]]} and ${range[1]} ${when[range[1]]}`);
  const wantsGpu = when.gpu ?? (when.minGpuMemoryGb || when.minTotalGpuMemoryGb || when.minGpuCount ? true : undefined);
  if (type.gpu === "none" && wantsGpu) return never("gpu", `the worker type uses no GPU, and this asks for one`);
  if (type.gpu === "required" && when.gpu === false) return never("gpu", `the worker type runs with a GPU only`);
  return null;
}

function cardlessFinding({ model, optional }: ModelReference, type: WorkerType): Finding | null {
  if (type.gpu !== "none" || model.variants.some((variant) => runsOnCpu(variant))) return null;
  return {
    level: optional ? "warn" : "fail",
    path: [],
    found: `every variant of ${model.id} needs a GPU, and the worker type uses none`,
    hint: "Add a variant without minGpuMemoryGb, or take the model out.",
  };
}

function runsOnCpu({ minGpuMemoryGb, gpuCount }: ModelReference["model"]["variants"][number]): boolean {
  return minGpuMemoryGb === 0 && gpuCount === 1;
}

function idleFinding({ model }: ModelReference, { slots }: WorkerType): Finding | null {
  const kinds = JOB_KINDS.filter((kind) => slots[kind] !== undefined);
  // What has no kind of job at all is for others than the coordinator.
  const own = JOB_KINDS.filter((kind) => takesKind(model, kind));
  if (kinds.length === 0 || own.length === 0 || own.some((kind) => kinds.includes(kind))) return null;
  return {
    level: "warn",
    path: [],
    found: `${model.id} is for ${model.task}, and the worker type has slots for ${kinds.join(", ")} only`,
    hint: `Add slots for ${own.join(" or ")}; it is loaded, and gets no jobs.`,
  };
}

function twiceFindings({ models }: WorkerType): Finding[] {
  return models.flatMap(({ model, when }, index): Finding[] => {
    const before = models.slice(0, index).find((other) => other.model.id === model.id);
    const mayBothHold = before && (Object.keys(when).length === 0 || Object.keys(before.when).length === 0);
    if (!mayBothHold) return [];
    const hint = "Remove one, or give both a `when` of which only one holds at a time.";
    return [{ level: "warn", path: ["models", index], found: `${model.id} stands there twice`, hint }];
  });
}

function slotFindings({ models, slots }: WorkerType): Finding[] {
  return JOB_KINDS.filter((kind) => slots[kind] && !models.some(({ model }) => takesKind(model, kind))).map((kind) => ({
    level: "warn",
    path: ["slots", kind],
    found: `none of its models takes ${kind} jobs`,
    hint: `Add a model that does, or remove the slots.`,
  }));
}
