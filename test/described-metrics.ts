import type { Registry } from "prom-client";
import { createMetrics as coordinatorMetrics } from "../src/coordinator/metrics/metrics.ts";
import { createMetrics as agentMetrics } from "../src/http/metrics.ts";
import { createStatusBoard } from "../src/status.ts";

/** What prom-client knows of a metric, labels too, which its types keep to themselves. */
export interface DescribedMetric {
  name: string;
  help: string;
  type: string;
  labelNames: string[];
}

/** Of both sides, those of Node.js and the process too. */
export function describedMetrics(): Record<"agent" | "coordinator", DescribedMetric[]> {
  const board = createStatusBoard({ version: "1.2.3", workerId: "worker-1", bootId: "boot-1", workerType: "chat" });
  return { agent: described(agentMetrics(board)), coordinator: described(coordinatorMetrics().registry) };
}

function described(registry: Registry): DescribedMetric[] {
  const all = registry.getMetricsAsArray() as unknown as (Omit<DescribedMetric, "type"> & {
    constructor: { name: string };
  })[];
  return all.map((metric) => {
    const { name, help, labelNames } = metric;
    return { name, help, labelNames, type: metric.constructor.name.toLowerCase() };
  });
}
