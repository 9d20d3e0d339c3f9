import { expect, test } from "vitest";
import { startHeartbeat } from "../../src/register/heartbeat.ts";
import { watchSilence } from "../../src/register/silence.ts";
import { until } from "../until.ts";

function stall(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

test("beats keep to multiples of the interval, and a stall neither shifts nor doubles them", async () => {
  const start = performance.now();
  const at: number[] = [];
  const heartbeat = startHeartbeat(50, (n) => {
    at.push(performance.now() - start);
    if (n === 3) stall(130);
  });
  await until("eight beats were", () => at.length >= 8);
  heartbeat.stop();
  // No beat is early for its slot, whatever the machine does to the timers.
  const slots = at.map((ms) => Math.round(ms / 50));
  for (const [position, ms] of at.entries()) expect(ms).toBeGreaterThan(position * 50 - 5);
  // The stalled beat was the third, in slot 2; slots 3 and 4 fall into it and are made up for by one late beat at most.
  expect(slots[7]).toBeGreaterThanOrEqual(8);
});

test("a stalled loop shows in the lag", async () => {
  const lags: number[] = [];
  const heartbeat = startHeartbeat(100, (_n, loopLagMs) => lags.push(loopLagMs));
  await until("a beat was", () => lags.length >= 2);
  // The sampler needs one sample after a beat before it can tell a delay.
  await until("some samples were", async () => {
    await new Promise((resolve) => setTimeout(resolve, 45));
    return true;
  });
  stall(80);
  const before = lags.length;
  await until("two more beats were", () => lags.length >= before + 2);
  heartbeat.stop();
  expect(Math.max(...lags)).toBeGreaterThan(40);
  expect(Math.min(...lags)).toBeGreaterThanOrEqual(0);
});

test("silence is called once when nothing is heard, but not for a stall of this process", async () => {
  let calls = 0;
  const watch = watchSilence(200, () => {
    calls += 1;
  });
  let heard = 0;
  // Hears nothing during the stall, and everything after it.
  const hearing = setInterval(() => {
    heard += 1;
    watch.heard();
  }, 10);
  stall(500);
  await until("the loop turned a few times", () => heard >= 5);
  expect(calls).toBe(0);
  clearInterval(hearing);
  await until("silence was called", () => calls === 1);
  watch.stop();
});
