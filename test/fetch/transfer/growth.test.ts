import { expect, it } from "vitest";
import { type Clock, Growth, type TickState } from "../../../src/fetch/transfer/growth.ts";

const WINDOW_MS = 30;

/** A thread of which the test says how long it has been at work, and how busy. */
function openThread(most: number) {
  let now = 1_000;
  let busy = 0;
  let waitedMs = 0;
  const clock: Clock = {
    now: () => now,
    eventLoopUtilization: () => ({ idle: 0, active: 0, utilization: busy }),
  };
  const growth = new Growth(most, clock);
  const pass = (rate: number, state: Partial<TickState> & { busy?: number; ms?: number; heldUp?: number } = {}) => {
    const ms = state.ms ?? WINDOW_MS;
    now += ms;
    busy = state.busy ?? 0.2;
    waitedMs += (state.heldUp ?? 0) * ms;
    growth.count(rate * ms);
    return growth.tick({ hasMore: true, waitedMs, areNew: false, ...state });
  };
  return { growth, pass };
}

it("takes four times the connections for as long as they bring more, up to the most", () => {
  const { growth, pass } = openThread(16);
  const seen = new Set<number>();
  for (let window = 0; window < 10; window += 1) {
    pass(50 * growth.target);
    seen.add(growth.target);
  }
  expect([...seen]).toEqual([4, 16]);
  expect(growth.onTrial).toBe(false);
});

it("goes back where they bring nothing more, says so, and tries again ever later", () => {
  const { growth, pass } = openThread(16);
  const waits: number[] = [];
  for (let quiet = 0; waits.length < 8; quiet += WINDOW_MS) {
    if (!pass(100)) continue;
    expect(growth.target).toBe(1);
    waits.push(quiet);
    quiet = 0;
  }
  const [, ...between] = waits;
  expect(between[0]).toBeGreaterThanOrEqual(3_000);
  expect(between.toSorted((a, b) => a - b)).toEqual(between);
  expect(between.at(-1)).toBeLessThan(70_000);
});

it("tries nothing while the digest holds connections up, nor shortly after", () => {
  const { growth, pass } = openThread(16);
  for (let window = 0; window < 50; window += 1) {
    pass(100, { heldUp: window % 4 === 0 ? 0.3 : 0.1 });
    expect(growth.target).toBe(1);
  }
  let windows = 0;
  for (; growth.target === 1; windows += 1) pass(100, { heldUp: 0.1 });
  expect(windows).toBeLessThan(10);
});

it("tries nothing on a busy thread, and nothing without work for more", () => {
  const { growth, pass } = openThread(16);
  for (let window = 0; window < 50; window += 1) {
    pass(100, { busy: 0.95 });
    pass(100, { hasMore: false });
  }
  expect(growth.target).toBe(1);
});

it("is not misled by a lull, nor by a burst before", () => {
  const { growth, pass } = openThread(4);
  // 100 on average, as four connections have 200.
  for (const rate of [60, 60, 60, 220, 60, 60, 60, 220]) pass(rate, { busy: 0.95 });
  pass(220);
  expect(growth.onTrial).toBe(true);
  for (const rate of [20, 20, 80, 680, 20, 20]) expect(pass(rate)).toBe(false);
  expect(growth).toMatchObject({ target: 4, onTrial: false });
});

it("is not taken in by a moment that is somewhat better", () => {
  const { growth, pass } = openThread(4);
  for (let window = 0; window < 10; window += 1) pass(100, { busy: 0.95 });
  pass(100);
  expect(growth.onTrial).toBe(true);
  const outcomes = [100, 140, 60, 100, 100, 100, 100, 100, 100].map((rate) => pass(rate));
  expect(outcomes.filter(Boolean)).toEqual([true]);
  expect(growth.target).toBe(1);
});

it("gives new connections time to bring their first bytes before it judges them", () => {
  const { growth, pass } = openThread(4);
  pass(50);
  for (let window = 0; window < 20; window += 1) pass(10, { areNew: true });
  expect(growth).toMatchObject({ target: 4, onTrial: true });
  pass(200);
  pass(200);
  expect(growth).toMatchObject({ target: 4, onTrial: false });
});

it("does not wait for ever for connections that bring nothing", () => {
  const { growth, pass } = openThread(16);
  pass(50);
  expect(growth.target).toBe(4);
  pass(50, { areNew: true, ms: 2_500 });
  const outcomes = Array.from({ length: 10 }, () => pass(50, { areNew: true }));
  expect(outcomes.filter(Boolean)).toEqual([true]);
  expect(growth.target).toBe(1);
});

it("takes half of them where the host asks for fewer requests", () => {
  const { growth, pass } = openThread(16);
  for (let window = 0; window < 10; window += 1) pass(50 * growth.target);
  growth.shrink();
  expect(growth.target).toBe(8);
  for (let window = 0; window < 90; window += 1) pass(400);
  expect(growth.target).toBe(8);
  for (let shrunk = 0; shrunk < 10; shrunk += 1) growth.shrink();
  expect(growth.target).toBe(1);
});
