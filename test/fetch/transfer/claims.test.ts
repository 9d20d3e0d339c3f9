import { expect, it } from "vitest";
import { advance } from "../../../src/fetch/transfer/claim.ts";
import { Claims } from "../../../src/fetch/transfer/claims.ts";

const MIB = 1 << 20;

/** Claims side by side, each `mib` long, that began at the time 0 and have brought this much of it by now. */
function underWay(mib: number, brought: readonly number[], now: number): Claims {
  const claims = new Claims();
  for (const [index, done] of brought.entries()) {
    const start = index * mib * MIB;
    const claim = claims.add({ start, end: start + mib * MIB }, 0, 0);
    if (done === 0) continue;
    claim.begunAt = 0;
    claim.lastAt = now;
    advance(claim, start + done * MIB, now);
    claims.onBytes(now);
  }
  return claims;
}

it("knows the range that one connection less leaves, and leaves short ones to their end", () => {
  const claims = underWay(32, [4, 4, 26], 2_000);
  const [, middle, last] = [...claims];
  last!.end = last!.position + 2 * MIB;
  expect(claims.cutLast()).toBeNull();
  claims.delete(last!);
  const rest = claims.cutLast();
  expect(rest).toEqual({ start: middle!.end, end: 64 * MIB });
  expect(middle!.end - middle!.position).toBe(MIB);
  expect([...claims].map(({ start }) => start)).toEqual([0, 32 * MIB]);
});

it("gives half of the claim that will take longest, and asks for no more until bytes have come", () => {
  const claims = underWay(32, [16, 2, 16], 2_000);
  const [, slow] = [...claims];
  const taken = claims.takeOver(2_100, { silentOnly: false });
  expect(taken).toMatchObject({ start: 49 * MIB, end: 64 * MIB, isHedged: false });
  expect(slow).toMatchObject({ end: 49 * MIB, askedEnd: 64 * MIB });
  expect(claims.takeOver(2_200, { silentOnly: false })).toBeNull();
  claims.onBytes(2_300);
  expect(claims.takeOver(2_300, { silentOnly: false })).toMatchObject({ end: 49 * MIB });
});

it("helps connections that have gone silent, and no others when only those are meant", () => {
  const claims = underWay(32, [16, 2], 2_000);
  expect(claims.takeOver(2_100, { silentOnly: true })).toBeNull();
  const [first] = [...claims];
  first!.lastAt = 5_000;
  claims.onBytes(5_000);
  expect(claims.takeOver(5_000, { silentOnly: true })).toMatchObject({ end: 64 * MIB });
});

it("fetches a small rest twice, once", () => {
  const claims = underWay(2, [1], 4_000);
  expect(claims.takeOver(4_100, { silentOnly: false })).toMatchObject({ start: MIB, end: 2 * MIB, isHedged: true });
  expect([...claims].every(({ isHedged }) => isHedged)).toBe(true);
  claims.onBytes(4_200);
  expect(claims.takeOver(4_300, { silentOnly: false })).toBeNull();
});

it("counts what is under way as good as there", () => {
  const claims = underWay(4, [1, 0], 1_000);
  expect(claims.coverOn([{ start: 0, end: MIB }])).toEqual([{ start: 0, end: 8 * MIB }]);
  expect(claims).toMatchObject({ size: 2, areNew: true, latency: 0 });
});

it("takes the quickest answer for how long the server takes: those after it waited for this thread", () => {
  const claims = underWay(32, [1, 1, 0], 1_000);
  const [first, second] = [...claims];
  first!.begunAt = 100;
  second!.begunAt = 140;
  expect(claims.latency).toBe(100);
});
