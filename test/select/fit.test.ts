import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Architecture } from "../../src/model.ts";
import {
  dtypeProblem,
  type FitQuestion,
  GIB,
  kvCacheBytes,
  largestContext,
  memoryNeed,
  splitProblem,
  VLLM_SHARE,
} from "../../src/select/fit.ts";
import { SHAPE } from "./machine.ts";

const shape = (change: Partial<Architecture>): Architecture => ({ ...SHAPE, ...change });

const mistral = shape({});
const qwen72b = shape({
  attentionLayers: 80,
  heads: 64,
  hiddenSize: 8192,
  intermediateSize: 29696,
  quantizationGroup: 128,
});

function question(architecture: Architecture, weightsBytes: number, change: Partial<FitQuestion> = {}): FitQuestion {
  const facts = { weightsBytes, projectorBytes: 0, architecture };
  return { engine: "vllm", facts, context: 8192, sequences: 1, tensorParallel: 1, ...change };
}

describe("the worked examples, GiB", () => {
  const cases: [string, FitQuestion, { kv: number; overhead: number; need: number; card?: number }][] = [
    ["Mistral-7B bf16", question(mistral, 13.49 * GIB), { kv: 1, overhead: 2.5, need: 16.99, card: 18.9 }],
    ["Mistral-7B GPTQ", question(mistral, 4.16e9), { kv: 1, overhead: 2.5, need: 7.37, card: 8.2 }],
    ["Qwen2.5-72B AWQ, one GPU", question(qwen72b, 38.74 * GIB), { kv: 2.5, overhead: 3.5, need: 44.7, card: 49.7 }],
    [
      "Qwen2.5-72B AWQ, two GPUs",
      question(qwen72b, 38.74 * GIB, { tensorParallel: 2 }),
      { kv: 1.25, overhead: 3.3, need: 23.9, card: 26.6 },
    ],
  ];
  it.each(cases)("%s", (_name, asked, expected) => {
    const need = memoryNeed(asked);
    expect(need.kv / GIB).toBeCloseTo(expected.kv, 5);
    expect(within3Percent(need.overhead / GIB, expected.overhead)).toBe(true);
    expect(within3Percent(need.total / GIB, expected.need)).toBe(true);
    if (expected.card) expect(within3Percent(need.total / GIB / VLLM_SHARE, expected.card)).toBe(true);
  });

  it("llava:7b on Ollama at 8K and at 4K", () => {
    // llava:7b is a Mistral-7B with a vision projector.
    const facts = { weightsBytes: 4.11e9, projectorBytes: 0.62e9, architecture: mistral };
    const asked: FitQuestion = { engine: "ollama", facts, context: 8192, sequences: 1, tensorParallel: 1 };
    expect(within3Percent(memoryNeed(asked).total / GIB, 6.36)).toBe(true);
    expect(within3Percent(memoryNeed({ ...asked, context: 4096 }).total / GIB, 5.9)).toBe(true);
  });

  it("KV per token: Mistral 128 KiB, Qwen2.5-72B 320 KiB", () => {
    expect(kvCacheBytes(mistral, 1, 1, 1)).toBe(128 * 1024);
    expect(kvCacheBytes(qwen72b, 1, 1, 1)).toBe(320 * 1024);
  });
});

it("a sliding window bounds the cache; latent attention caches one vector a layer", () => {
  const windowed = shape({ attentionLayers: 0, windowedLayers: 32, window: 4096 });
  expect(kvCacheBytes(windowed, 32768, 1, 1)).toBe(kvCacheBytes(windowed, 4096, 1, 1));
  const latent = shape({ attentionLayers: 61, latentDim: 576 });
  expect(kvCacheBytes(latent, 1000, 1, 8)).toBe(61 * 576 * 1000 * 2);
});

it("says what cannot be split", () => {
  expect(splitProblem(qwen72b, 2)).toBeNull();
  expect(splitProblem(shape({ heads: 30 }), 4)).toMatch("30 attention heads");
  expect(splitProblem(shape({ quantizationGroup: 128, intermediateSize: 11008 }), 4)).toMatch("groups of 128");
});

it("says which GPU cannot run a type", () => {
  expect(dtypeProblem("bfloat16", "7.5")).toMatch("needs compute capability 8.0");
  expect(dtypeProblem("bfloat16", "8.6")).toBeNull();
  expect(dtypeProblem("float8_e4m3fn", "8.6")).toMatch("8.9");
  expect(dtypeProblem("bfloat16", null)).toBeNull();
});

describe("for any model and card", () => {
  const shapes = fc.record({
    attentionLayers: fc.integer({ min: 0, max: 100 }),
    windowedLayers: fc.integer({ min: 0, max: 100 }),
    window: fc.integer({ min: 0, max: 8192 }),
    kvHeads: fc.integer({ min: 1, max: 64 }),
    headDim: fc.constantFrom(64, 80, 128, 256),
    latentDim: fc.option(fc.integer({ min: 64, max: 1024 })),
  });

  it("the largest context fits, and 256 tokens more do not", () => {
    fc.assert(
      fc.property(
        shapes,
        fc.integer({ min: 1, max: 200 }),
        fc.integer({ min: 1, max: 100 }),
        (change, cardGib, weightsGib) => {
          const asked = question(shape({ ...change, maxContext: 131_072 }), weightsGib * GIB);
          const most = largestContext(asked, cardGib * GIB);
          if (most > 0) expect(memoryNeed({ ...asked, context: most }).total).toBeLessThanOrEqual(cardGib * GIB);
          if (most + 256 <= 131_072)
            expect(memoryNeed({ ...asked, context: most + 256 }).total).toBeGreaterThan(cardGib * GIB);
        },
      ),
    );
  });

  it("need never falls when the context grows, and never rises with more GPUs but for their own overhead", () => {
    fc.assert(
      fc.property(
        shapes,
        fc.integer({ min: 0, max: 131072 }),
        fc.integer({ min: 1, max: 131072 }),
        (change, context, more) => {
          const asked = question(shape(change), 8 * GIB, { context });
          const need = memoryNeed(asked);
          expect(memoryNeed({ ...asked, context: context + more }).total).toBeGreaterThanOrEqual(need.total);
          const split = memoryNeed({ ...asked, tensorParallel: 2 });
          expect(split.weights + split.kv).toBeLessThanOrEqual(need.weights + need.kv);
        },
      ),
    );
  });
});

function within3Percent(value: number, expected: number): boolean {
  return Math.abs(value - expected) / expected <= 0.03;
}
