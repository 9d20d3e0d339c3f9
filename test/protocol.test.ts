import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  CLOSE,
  type CoordinatorFrame,
  type CoordinatorPayload,
  coordinatorFrame,
  decodeFrame,
  encodeFrame,
  FINAL_CLOSE_CODES,
  JOB_ERRORS,
  PROTOCOL_DEFAULTS,
  type WorkerFrame,
  type WorkerPayload,
  workerFrame,
} from "../src/protocol.ts";
import { beat, hello } from "./coordinator/raw-worker.ts";

const job = { jobId: "job-1", attempt: 2 };
const model = {
  model: "tiny",
  source: "huggingface",
  location: "acme/tiny",
  variant: "fp16",
  revision: "main",
  required: true,
  state: "fetching",
  bytesDone: 3,
  bytesTotal: 7,
  rate: 0.5,
  errorCode: null,
} as const;
const gpu = {
  index: 0,
  name: "GPU",
  uuid: "GPU-1",
  vendor: "nvidia",
  memoryTotalMiB: 24_576,
  memoryFreeMiB: null,
  mig: false,
  unified: false,
  computeCapability: "8.6",
} as const;

const fromWorker: WorkerPayload[] = [
  hello({
    hardware: { ...hello().hardware, gpus: [gpu] },
    engines: [{ kind: "vllm", url: "http://e", reachable: true, version: null }],
    models: [model],
    jobs: [{ ...job, lease: "l", cs: 1 }],
    results: [job],
  }),
  beat(1, { gpus: [{ uuid: "GPU-1", memoryUsedMiB: 1, memoryFreeMiB: null, utilization: 0.5 }], jobs: [job] }),
  { t: "model.state", ...model },
  { t: "credit", kind: "chat", n: 4 },
  { t: "job.accept", ...job },
  { t: "job.reject", ...job, code: "BUSY" },
  { t: "job.chunk", ...job, cs: 0, delta: { any: ["thing"] } },
  {
    ...{
      t: "job.result",
      ...job,
      status: "failed",
      output: null,
      usage: { tokens: 1 },
      timings: { ms: 2 },
      sha256: "ab",
    },
    error: { code: "TIMEOUT", message: "late", retryable: false },
  },
  { t: "drain", reason: "told to stop" },
  { t: "bye", reason: "stopped" },
];

const terms = { beatMs: 100, leaseMs: 200, graceMs: 300, maxFrame: 4096, features: ["x"] };
const fromCoordinator: CoordinatorPayload[] = [
  { t: "welcome", sessionId: "s", epoch: 1, ...terms, resume: [{ jobId: "job-1", verdict: "keep", cs: 3 }] },
  { t: "beat.ack", n: 1, renewed: ["job-1"], lost: [] },
  {
    ...{ t: "job.offer", ...job, lease: "l", kind: "ocr", model: "tiny", input: { image: "" }, remainingMs: 5 },
    ...{ stream: true, retrySafe: false },
  },
  { t: "job.cancel", ...job },
  { t: "chunk.ack", ...job, cs: 1 },
  { t: "result.ack", ...job },
  { t: "models.ensure", models: ["tiny"] },
  { t: "models.sync" },
  { t: "models.remove", models: ["tiny"] },
  { t: "pause" },
  { t: "resume" },
  { t: "drain" },
  { t: "reconnect" },
];

const types = (frames: { t: string }[]) => frames.map(({ t }) => t);
const typesOf = (schema: typeof workerFrame | typeof coordinatorFrame) =>
  schema.options.map((option) => option.shape.t.value as string);

describe("every frame", () => {
  it("has an example here", () => {
    expect(types(fromWorker)).toEqual(typesOf(workerFrame));
    expect(types(fromCoordinator)).toEqual(typesOf(coordinatorFrame));
  });

  const envelope = { id: expect.stringMatching(/^[\da-f-]{36}$/), ts: expect.stringMatching(/^\d{4}-.*Z$/) };
  it.each(fromWorker.map((payload) => [payload.t, payload] as const))(
    "%s goes to the coordinator whole",
    (_t, payload) => {
      expect(decodeFrame(workerFrame, encodeFrame(payload))).toEqual({ ok: true, frame: { ...payload, ...envelope } });
    },
  );
  it.each(fromCoordinator.map((payload) => [payload.t, payload] as const))(
    "%s goes to the worker whole",
    (_t, payload) => {
      const decoded = decodeFrame(coordinatorFrame, encodeFrame(payload));
      expect(decoded).toEqual({ ok: true, frame: { ...payload, ...envelope } });
    },
  );
});

const decodeForWorker = (message: unknown) =>
  decodeFrame(coordinatorFrame, typeof message === "string" ? message : JSON.stringify(message));

it("what a coordinator leaves out has its default", () => {
  expect(decodeForWorker({ t: "welcome", sessionId: "s", epoch: 1 })).toEqual({
    ok: true,
    frame: {
      ...{ t: "welcome", sessionId: "s", epoch: 1, features: [], resume: [] },
      beatMs: PROTOCOL_DEFAULTS.beatMs,
      leaseMs: PROTOCOL_DEFAULTS.leaseMs,
      graceMs: PROTOCOL_DEFAULTS.graceMs,
      maxFrame: PROTOCOL_DEFAULTS.maxFrame,
    },
  });
  expect(decodeForWorker({ t: "beat.ack", n: 3 })).toMatchObject({ ok: true, frame: { renewed: [], lost: [] } });
});

it("unknown fields are ignored, at any depth", () => {
  const message = {
    t: "welcome",
    sessionId: "s",
    epoch: 1,
    later: true,
    resume: [{ jobId: "j", verdict: "keep", x: 1 }],
  };
  const decoded = decodeForWorker(message);
  expect(decoded).toMatchObject({ ok: true, frame: { resume: [{ jobId: "j", verdict: "keep", cs: 0 }] } });
  expect(JSON.stringify(decoded)).not.toMatch(/later|"x"/);
});

it("an unknown type is told apart from a bad frame", () => {
  expect(decodeForWorker({ t: "job.paint", n: 1 })).toEqual({
    ok: false,
    unknown: true,
    reason: "unknown type job.paint",
  });
});

it.each<[string, unknown, RegExp]>([
  ["not JSON", "{", /not JSON/],
  ["no object", "null", /no type/],
  ["a list", [], /no type/],
  ["no type", { n: 1 }, /no type `t`/],
  ["a type that is no string", { t: 1 }, /no type `t`/],
  ["a field missing", { t: "beat.ack" }, /^beat\.ack: n: /],
  ["a field of the wrong type", { t: "beat.ack", n: "1" }, /^beat\.ack: n: /],
  [
    "a field deep down",
    { t: "welcome", sessionId: "s", epoch: 1, resume: [{ jobId: "" }] },
    /^welcome: resume\.0\.jobId: /,
  ],
  ["a negative count", { t: "beat.ack", n: -1 }, /^beat\.ack: n: /],
  ["beats too fast to keep", { t: "welcome", sessionId: "s", epoch: 1, beatMs: 0 }, /^welcome: beatMs: /],
  ["a type of the other direction", { t: "hello" }, /^hello: /],
])("%s is refused with a reason", (_what, message, reason) => {
  expect(decodeForWorker(message)).toEqual({ ok: false, unknown: false, reason: expect.stringMatching(reason) });
});

it("decoding never throws, and a reason fits into a close frame", () => {
  const anything = fc.oneof(fc.string({ unit: "binary" }), fc.json(), fc.json({ stringUnit: "binary" }));
  // A well-formed frame in which one field became something else.
  const damaged = fc
    .tuple(
      fc.constantFrom(...fromWorker, ...fromCoordinator),
      fc.nat(),
      fc.oneof(fc.jsonValue(), fc.string({ unit: "binary" })),
    )
    .map(([frame, position, value]) => {
      const names = Object.keys(frame);
      return JSON.stringify({ ...frame, [names[position % names.length]!]: value });
    });
  fc.assert(
    fc.property(fc.oneof(anything, damaged), fc.constantFrom(workerFrame, coordinatorFrame), (message, schema) => {
      const decoded = decodeFrame<WorkerFrame | CoordinatorFrame>(schema, message);
      if (decoded.ok)
        expect(decodeFrame<WorkerFrame | CoordinatorFrame>(schema, JSON.stringify(decoded.frame)).ok).toBe(true);
      else if (!decoded.unknown) expect(Buffer.byteLength(decoded.reason)).toBeLessThanOrEqual(123);
    }),
    { numRuns: 300 },
  );
});

it("deep nesting is no attack", () => {
  const deep = "[".repeat(200_000);
  expect(decodeForWorker(deep).ok).toBe(false);
  expect(decodeForWorker(`{"t":"pause","x":${deep}${"]".repeat(200_000)}}`)).toBeDefined();
});

it("the tables hold what the protocol says", () => {
  const retryable = Object.entries(JOB_ERRORS).filter(([, facts]) => facts.retryable);
  expect(Object.keys(JOB_ERRORS)).toHaveLength(14);
  expect(retryable.map(([code]) => code).toSorted()).toEqual(
    "BUSY DRAINING ENGINE_DOWN GPU_LOST INTERNAL LEASE_LOST MODEL_NOT_READY OUT_OF_MEMORY".split(" "),
  );
  expect(Object.values(CLOSE)).toEqual([1001, 1009, 1012, 1013, 4000, 4001, 4003, 4008, 4009, 4010]);
  expect(Object.keys(FINAL_CLOSE_CODES).map(Number)).toEqual([4003, 4009, 4010]);
  expect(PROTOCOL_DEFAULTS).toMatchObject({ beatMs: 10_000, leaseMs: 45_000, graceMs: 30_000 });
});
