import { expect, it } from "vitest";
import type { Check } from "../../../src/cli/doctor/check.ts";
import { checkClock } from "../../../src/cli/doctor/clock.ts";
import { clockOf } from "../../../src/cli/doctor/knock.ts";

const told = (name: string, clockAheadMs: number): Check => ({ name, result: "ok", found: "", clockAheadMs });

it("holds a Date of whole seconds against the time that its answer took", () => {
  const in_ = (ms: number) => new Date(Date.now() + ms).toUTCString();
  expect(clockOf(in_(0), 20)).toEqual({ clockAheadMs: 0 });
  expect(clockOf(in_(600_000), 20).clockAheadMs).toBeGreaterThan(590_000);
  expect(clockOf(in_(-600_000), 20).clockAheadMs).toBeLessThan(-590_000);
  // It took so long that it may have been right.
  expect(clockOf(in_(-3000), 5000)).toEqual({ clockAheadMs: 0 });
  expect(clockOf(undefined, 1)).toEqual({});
});

it("is fine where all agree, and says whose clock is wrong where they do not", () => {
  expect(checkClock([{ name: "hub", result: "fail", found: "" }])).toEqual([]);
  expect(checkClock([told("hub", 0), told("coordinator", 2000)])).toEqual([
    { name: "clock", result: "ok", found: "within 3 s of hub, coordinator" },
  ]);
  const [one] = checkClock([told("hub", 0), told("coordinator", -90_000)]);
  expect(one).toMatchObject({
    result: "warn",
    found: "coordinator is 90 s behind this machine",
    hint: expect.stringContaining("whichever is wrong"),
  });
  const [all] = checkClock([told("hub", 400_000), told("coordinator", 401_000)]);
  expect(all?.hint).toContain("this machine's clock: `timedatectl set-ntp true`");
});
