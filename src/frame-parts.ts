import * as z from "zod";
import { ENGINES, MODEL_STATES, SOURCES, TASKS } from "./model.ts";

/** What frames tell of a worker: its hardware, engines and models. */

export const count = z.number().int().nonnegative();

const gpu = z.object({
  index: count,
  name: z.string(),
  uuid: z.string(),
  vendor: z.enum(["nvidia", "amd", "intel"]),
  memoryTotalMiB: z.number().nullable(),
  memoryFreeMiB: z.number().nullable(),
  mig: z.boolean(),
  unified: z.boolean(),
  computeCapability: z.string().nullable(),
});

export const hardware = z.object({
  gpus: z.array(gpu),
  driverVersion: z.string().nullable(),
  cpu: z.object({ model: z.string(), cores: z.number() }),
  memory: z.object({ totalBytes: count, availableBytes: count, limitBytes: count.nullable() }),
});

export const engine = z.object({
  kind: z.enum(ENGINES),
  url: z.string(),
  reachable: z.boolean(),
  version: z.string().nullable(),
});

export const modelStatus = z.object({
  model: z.string(),
  source: z.enum(SOURCES),
  /** Where the source has it: a repository, a name, a URL. */
  location: z.string(),
  variant: z.string(),
  revision: z.string(),
  required: z.boolean(),
  state: z.enum(MODEL_STATES),
  bytesDone: count,
  bytesTotal: count,
  /** Bytes a second. */
  rate: z.number().nonnegative(),
  errorCode: z.string().nullable(),
  /** Why, in words, without secrets. */
  error: z.string().nullable().optional(),
  /** Other names under which it was asked for. */
  asked: z.array(z.string()).optional(),
});

/** What a coordinator knows of a model that no catalog has. */
export const modelOptions = z.object({
  task: z.enum(TASKS).optional(),
  engine: z.enum(ENGINES).optional(),
  /** Tokens per sequence to plan for. */
  context: count.positive().optional(),
});

export type ModelReport = z.output<typeof modelStatus>;
export type ModelOptions = z.output<typeof modelOptions>;
