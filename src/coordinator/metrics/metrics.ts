import { collectDefaultMetrics, Registry } from "prom-client";
import { type Counters, createCounters } from "./counters.ts";
import { addGauges, type GaugeSources } from "./gauges.ts";

export interface CoordinatorMetrics {
  registry: Registry;
  counters: Counters;
  /** Gauges are read off these from now on. */
  watch(sources: GaugeSources): void;
}

/** Types are the workers' own words: beyond so many, the further ones are counted as "other". */
const MOST_TYPES = 100;

/** The coordinator's metrics, in the naming scheme of the agent's. */
export function createMetrics(): CoordinatorMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const types = new Set<string>();
  const typeLabel = (type: string) => {
    if (types.size < MOST_TYPES) types.add(type);
    return types.has(type) ? type : "other";
  };
  let sources: GaugeSources | null = null;
  const counters = createCounters(registry, typeLabel);
  addGauges(registry, { sources: () => sources, typeLabel });
  return {
    registry,
    counters,
    watch(given) {
      sources = given;
    },
  };
}
