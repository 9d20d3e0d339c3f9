import fc from "fast-check";
import { expect, test } from "vitest";
import { CHUNK_FRAME_BYTES, createChunkRing, RING_BYTES } from "../../src/register/chunk-ring.ts";

test("chunks come out once, in order, numbered from 0", () => {
  const ring = createChunkRing();
  for (const delta of ["a", "b"]) ring.push(delta);
  expect([ring.take(), ring.take(), ring.take()]).toEqual([{ cs: 0, delta: "a" }, { cs: 1, delta: "b" }, null]);
  ring.push("c");
  expect(ring.take()).toEqual({ cs: 2, delta: "c" });
  expect(ring.next).toBe(3);
});

test("four MiB are kept, beyond that nothing: neither what was kept nor what comes", () => {
  const ring = createChunkRing();
  const half = "x".repeat(RING_BYTES / 2 - CHUNK_FRAME_BYTES - 2);
  ring.push(half);
  ring.push(half);
  expect(ring.take()).not.toBeNull();
  ring.acknowledge(0);
  ring.push(half);
  expect(ring.take()).not.toBeNull();
  ring.push("");
  expect([ring.take(), ring.next]).toEqual([null, 3]);
  ring.acknowledge(2);
  ring.push("small");
  ring.rewind(3);
  expect(ring.take()).toBeNull();
});

test("an attempt begins anew where all is kept, else there are no more chunks", () => {
  const all = createChunkRing();
  all.push("a");
  all.take();
  all.rewind(0);
  expect(all.take()).toEqual({ cs: 0, delta: "a" });
  const part = createChunkRing();
  part.push("a");
  part.take();
  part.acknowledge(0);
  part.rewind(0);
  part.push("b");
  expect(part.take()).toBeNull();
});

type Step = { push: string } | { take: true } | { acknowledge: number } | { rewind: number };

const steps = fc.array(
  fc.oneof(
    fc.record({ push: fc.string({ maxLength: 30 }) }),
    fc.record({ push: fc.string({ maxLength: 30 }) }),
    fc.constant({ take: true as const }),
    fc.constant({ take: true as const }),
    fc.record({ acknowledge: fc.nat(40) }),
    fc.record({ rewind: fc.nat(40) }),
  ),
  { maxLength: 120 },
);

test("whatever happens, what is sent is what was pushed, without a gap since the last rewind, and within the limit", () => {
  fc.assert(
    fc.property(steps, (script: Step[]) => {
      const limit = 10 * CHUNK_FRAME_BYTES;
      const ring = createChunkRing(limit);
      const pushed: string[] = [];
      let expected = 0;
      let acknowledged = 0;
      let ended = false;
      for (const step of script) {
        if ("push" in step) {
          if (ring.next === pushed.length) pushed.push(step.push);
          ring.push(step.push);
          if (ring.next < pushed.length) ended = true;
        } else if ("acknowledge" in step) {
          ring.acknowledge(step.acknowledge);
          acknowledged = Math.max(acknowledged, Math.min(step.acknowledge + 1, expected));
        } else if ("rewind" in step) {
          ring.rewind(step.rewind);
          if (step.rewind < acknowledged || step.rewind > ring.next) ended = true;
          else expected = step.rewind;
        } else {
          const chunk = ring.take();
          if (ended || expected === ring.next) expect(chunk).toBeNull();
          else {
            expect(chunk).toEqual({ cs: expected, delta: pushed[expected] });
            expected += 1;
          }
        }
      }
    }),
    { numRuns: 2_000 },
  );
});
