import * as z from "zod";
import { count, engine, hardware, modelOptions, modelStatus } from "./frame-parts.ts";
import { JOB_KINDS } from "./model.ts";

export type { ModelOptions, ModelReport } from "./frame-parts.ts";

/** The wire protocol muster.v1: every frame, as docs/protocol.md tells it. One JSON text frame is one message. */

export const SUBPROTOCOL = "muster.v1";

/** WebSocket close codes. Those in {@link FINAL_CLOSE_CODES} end the agent: restarting would not help. */
export const CLOSE = {
  goingAway: 1001,
  tooBig: 1009,
  serviceRestart: 1012,
  tryAgainLater: 1013,
  protocol: 4000,
  tokenExpired: 4001,
  revoked: 4003,
  helloTimeout: 4008,
  superseded: 4009,
  version: 4010,
} as const;

export const FINAL_CLOSE_CODES: Record<number, string> = {
  [CLOSE.revoked]: "the coordinator has revoked this worker",
  [CLOSE.superseded]: "a newer agent runs under the same worker id",
  [CLOSE.version]: "the coordinator does not speak this version of the protocol",
};

/** Why a job failed, and whether another worker may try it. */
export const JOB_ERRORS = {
  BUSY: { retryable: true },
  MODEL_NOT_READY: { retryable: true },
  UNSUPPORTED: { retryable: false },
  INVALID_INPUT: { retryable: false },
  PAYLOAD_TOO_LARGE: { retryable: false },
  OUT_OF_MEMORY: { retryable: true },
  GPU_LOST: { retryable: true },
  ENGINE_DOWN: { retryable: true },
  TIMEOUT: { retryable: false },
  CANCELLED: { retryable: false },
  DRAINING: { retryable: true },
  LEASE_LOST: { retryable: true },
  STALE_ATTEMPT: { retryable: false },
  INTERNAL: { retryable: true },
} as const;

export type JobErrorCode = keyof typeof JOB_ERRORS;

export const PROTOCOL_DEFAULTS = {
  beatMs: 10_000,
  leaseMs: 45_000,
  graceMs: 30_000,
  maxFrame: 16 * 1024 * 1024,
  helloTimeoutMs: 10_000,
} as const;

/** What a worker takes for an interval of beats. */
export const BEAT_MS = { min: 20, max: 600_000 } as const;

/** A connection without an acknowledged beat for this many beats is taken for dead. */
export const SILENT_BEATS = 2.5;

/** Requests are flat: tools and JSON schemas reach a dozen levels. What is far deeper was made to overflow a stack. */
export const MAX_INPUT_DEPTH = 100;

const id = z.string().min(1).max(256);
const jobErrorCode = z.enum(Object.keys(JOB_ERRORS) as [JobErrorCode, ...JobErrorCode[]]);
const kind = z.enum(JOB_KINDS);
const jobRef = { jobId: id, attempt: count };
const slots = z.partialRecord(kind, count);
/** `ts` is RFC 3339. A peer in another language may leave both out: nothing depends on them but logs. */
const envelope = { id: id.optional(), ts: z.iso.datetime({ offset: true }).optional() };

const jobInFlight = z.object({ ...jobRef, lease: id, cs: count });
const resultWaiting = z.object(jobRef);

/** Frames a worker sends. */
export const workerFrame = z.discriminatedUnion("t", [
  z.object({
    t: z.literal("hello"),
    ...envelope,
    workerId: id,
    bootId: id,
    agent: z.string(),
    features: z.array(z.string()),
    workerType: z.string(),
    hardware,
    engines: z.array(engine),
    models: z.array(modelStatus),
    ready: z.boolean(),
    slots,
    jobs: z.array(jobInFlight),
    results: z.array(resultWaiting),
  }),
  z.object({
    t: z.literal("beat"),
    ...envelope,
    n: count,
    ready: z.boolean(),
    state: z.enum(["starting", "syncing", "ready", "paused", "draining", "stopped"]),
    slotsFree: slots,
    gpus: z.array(
      z.object({
        uuid: z.string(),
        memoryUsedMiB: z.number().nullable(),
        memoryFreeMiB: z.number().nullable(),
        utilization: z.number().nullable(),
      }),
    ),
    diskFreeBytes: count.nullable(),
    /** 99th percentile of the event loop's delay since the last beat, in milliseconds. */
    loopLagMs: z.number().nonnegative(),
    jobs: z.array(z.object(jobRef)),
    /** Rises whenever the state of a model changes. */
    modelsRevision: count,
  }),
  z.object({
    t: z.literal("model.state"),
    ...envelope,
    ...modelStatus.shape,
    /** The worker has it no more; to be forgotten. */
    removed: z.literal(true).optional(),
  }),
  z.object({ t: z.literal("credit"), ...envelope, kind, n: count }),
  z.object({ t: z.literal("job.accept"), ...envelope, ...jobRef }),
  z.object({ t: z.literal("job.reject"), ...envelope, ...jobRef, code: jobErrorCode }),
  z.object({ t: z.literal("job.chunk"), ...envelope, ...jobRef, cs: count, delta: z.unknown() }),
  z.object({
    t: z.literal("job.result"),
    ...envelope,
    ...jobRef,
    status: z.enum(["done", "failed", "cancelled"]),
    output: z.unknown().optional(),
    error: z.object({ code: jobErrorCode, message: z.string(), retryable: z.boolean() }).optional(),
    usage: z.record(z.string(), z.number()).optional(),
    timings: z.record(z.string(), z.number()).optional(),
    /** Of the output's JSON text. */
    sha256: z.string().optional(),
  }),
  z.object({ t: z.literal("drain"), ...envelope, reason: z.string() }),
  z.object({ t: z.literal("bye"), ...envelope, reason: z.string() }),
]);

/** Frames a coordinator sends. */
export const coordinatorFrame = z.discriminatedUnion("t", [
  z.object({
    t: z.literal("welcome"),
    ...envelope,
    sessionId: id,
    epoch: count,
    beatMs: z.number().int().min(BEAT_MS.min).max(BEAT_MS.max).default(PROTOCOL_DEFAULTS.beatMs),
    leaseMs: count.default(PROTOCOL_DEFAULTS.leaseMs),
    graceMs: count.default(PROTOCOL_DEFAULTS.graceMs),
    maxFrame: z.number().int().min(1024).default(PROTOCOL_DEFAULTS.maxFrame),
    features: z.array(z.string()).default([]),
    resume: z.array(z.object({ jobId: id, verdict: z.enum(["keep", "abandon"]), cs: count.default(0) })).default([]),
  }),
  z.object({
    t: z.literal("beat.ack"),
    ...envelope,
    n: count,
    renewed: z.array(id).default([]),
    lost: z.array(id).default([]),
  }),
  z.object({
    t: z.literal("job.offer"),
    ...envelope,
    ...jobRef,
    lease: id,
    kind,
    model: z.string(),
    input: z.unknown(),
    remainingMs: count,
    stream: z.boolean().default(false),
    retrySafe: z.boolean().default(true),
  }),
  z.object({ t: z.literal("job.cancel"), ...envelope, ...jobRef }),
  z.object({ t: z.literal("chunk.ack"), ...envelope, ...jobRef, cs: count }),
  z.object({ t: z.literal("result.ack"), ...envelope, ...jobRef }),
  z.object({
    t: z.literal("models.ensure"),
    ...envelope,
    /** References. */
    models: z.array(z.string()),
    /** By reference. */
    options: z.record(z.string(), modelOptions).optional(),
  }),
  z.object({ t: z.literal("models.sync"), ...envelope }),
  z.object({ t: z.literal("models.remove"), ...envelope, models: z.array(z.string()) }),
  z.object({ t: z.literal("pause"), ...envelope }),
  z.object({ t: z.literal("resume"), ...envelope }),
  z.object({ t: z.literal("drain"), ...envelope }),
  z.object({ t: z.literal("reconnect"), ...envelope }),
]);

export type WorkerFrame = z.output<typeof workerFrame>;
export type CoordinatorFrame = z.output<typeof coordinatorFrame>;

type FrameType = WorkerFrame["t"] | CoordinatorFrame["t"];

/** Distributes over the union, so that each frame keeps its own payload. */
type Payload<F> = F extends { t: string } ? Omit<F, "id" | "ts"> : never;
export type WorkerPayload = Payload<WorkerFrame>;
export type CoordinatorPayload = Payload<z.input<typeof coordinatorFrame>>;

/** The text of a frame: the payload, or the JSON of one, with its message id and time. */
export function encodeFrame(payload: WorkerPayload | CoordinatorPayload | string): string {
  const json = typeof payload === "string" ? payload : JSON.stringify(payload);
  return `${json.slice(0, -1)},"id":"${crypto.randomUUID()}","ts":"${new Date().toISOString()}"}`;
}

/** `unknown`: well formed, of a type this version does not know; to be ignored. */
export type Decoded<F> = { ok: true; frame: F } | { ok: false; unknown: boolean; reason: string };

const knownTypes = new Set<string>(
  [...workerFrame.options, ...coordinatorFrame.options].map((option) => option.shape.t.value satisfies FrameType),
);

/** A message as a frame, or the reason why it is none. Never throws, whatever the bytes are. */
export function decodeFrame<F extends WorkerFrame | CoordinatorFrame>(
  schema: z.ZodType<F>,
  message: string,
): Decoded<F> {
  let json: unknown;
  try {
    json = JSON.parse(message);
  } catch {
    return { ok: false, unknown: false, reason: "the message is not JSON" };
  }
  const result = schema.safeParse(json);
  if (result.success) return { ok: true, frame: result.data };
  const type = (json as { t?: unknown } | null)?.t;
  if (typeof type !== "string") return { ok: false, unknown: false, reason: "the message has no type `t`" };
  if (!knownTypes.has(type)) return { ok: false, unknown: true, reason: `unknown type ${type.slice(0, 40)}` };
  const issue = result.error.issues[0];
  const reason = `${type}: ${issue?.path.join(".") || "frame"}: ${issue?.message ?? "invalid"}`;
  // A close reason may hold 123 bytes, and a path can carry the sender's own keys in any script.
  return { ok: false, unknown: false, reason: reason.replace(/[^\x20-\x7e]/g, "?").slice(0, 100) };
}
