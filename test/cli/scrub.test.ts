import { openSync, readFileSync, realpathSync, writeSync } from "node:fs";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { httpOf, runMuster, startMuster } from "../e2e/muster.ts";
import { until } from "../until.ts";
import { TINY, volumePlace } from "./volume-place.ts";

interface Scrub {
  startedAt: string;
  finishedAt: string | null;
  wrongFiles: number;
  isRunning: boolean;
}

it("the agent checks everything in the background, one of two at a time, goes on after a kill, and says what is wrong", async () => {
  const at = await volumePlace();
  onTestFinished(() => at[Symbol.asyncDispose]());
  const file = realpathSync(
    join(at.here.volume, "huggingface/hub/models--acme--tiny/snapshots", at.record(TINY).revision, "config.json"),
  );
  const fd = openSync(file, "r+");
  writeSync(fd, Buffer.from([readFileSync(file)[10]! ^ 1]), 0, 1, 10);
  const agent = (state: string, rate: string) => {
    const env = { ...at.env, WORKER_TYPE: "one", SCRUB_INTERVAL: "1h", VERIFY_RATE: rate };
    const started = startMuster(["start"], { ...env, STATE_DIR: join(at.here.folder, state) });
    onTestFinished(() => started[Symbol.asyncDispose]());
    return started;
  };
  const state = () =>
    JSON.parse(readFileSync(join(at.here.volume, ".muster/scrub.json"), "utf8")) as Scrub & { position: unknown };
  const scrubOf = async (url: string) => {
    const status = (await (await fetch(`${url}/status`)).json()) as { volume: { scrub: Scrub | null } | null };
    return status.volume?.scrub ?? null;
  };
  // So slow that it does not come to its end.
  const slow = agent("slow", "100kB/s");
  const url = await httpOf(slow);
  const begun = await until("it is on its way", async () => {
    const scrub = await scrubOf(url);
    return scrub?.isRunning && scrub.wrongFiles > 0 ? scrub : null;
  });
  await slow.line(/ERROR.* config\.json of acme\/tiny: wrong content/);
  await until("it has noted how far it is", () => {
    try {
      return state().position;
    } catch {
      return null;
    }
  });
  const second = agent("second", "1GB/s");
  const secondUrl = await httpOf(second);
  await second.line(/Ready: every required/);
  expect((await scrubOf(secondUrl))?.isRunning ?? false).toBe(false);
  slow.kill("SIGKILL");
  await slow.exited;
  // The next to look goes on with the same round; a restart looks at once.
  second.kill("SIGTERM");
  await second.exited;
  const third = agent("third", "1GB/s");
  const thirdUrl = await httpOf(third);
  const over = await until("the round is over", async () => {
    const scrub = await scrubOf(thirdUrl);
    return scrub?.finishedAt ? scrub : null;
  });
  expect(over).toMatchObject({ startedAt: begun.startedAt, wrongFiles: 1, isRunning: false });
  const metrics = await (await fetch(`${thirdUrl}/metrics`)).text();
  expect(metrics).toMatch(/^muster_scrub_wrong_files 1$/m);
  expect(metrics).toMatch(/^muster_cache_models 4$/m);
  const env = { ...at.env, STATE_DIR: join(at.here.folder, "third") };
  expect((await runMuster(["status"], env)).stdout).toMatch(
    /^volume {7}4 models, .+; scrubbed .+, 1 files WRONG: run/m,
  );
  expect((await runMuster(["remove", "vision", "--yes"], at.env)).code).toBe(0);
  await until("the eviction is counted", async () =>
    /^muster_evictions_total 1$/m.test(await (await fetch(`${thirdUrl}/metrics`)).text()),
  );
});
