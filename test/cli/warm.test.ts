import { rmSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, it, onTestFinished } from "vitest";
import { runMuster, startMuster } from "../e2e/muster.ts";
import { closedPort } from "../e2e/services.ts";
import { startOllamaEngine } from "../fakes/ollama-engine.ts";
import { CHAT, TINY, TWIN, type VolumePlace, volumePlace } from "./volume-place.ts";

let at: VolumePlace;
beforeEach(async () => {
  at = await volumePlace();
  const place = at;
  onTestFinished(() => place[Symbol.asyncDispose]());
});
const run = (env: object, ...args: string[]) => runMuster(["warm", ...args], { ...at.env, ...env });

it("reads each byte of the models once, and says where no engine can be asked", async () => {
  const { models, bytes, engines } = await at.json<{ models: string[]; bytes: number; engines: unknown[] }>(
    ...["warm", TINY, TWIN],
  );
  const size = (location: string) => at.record(location).files.reduce((sum, file) => sum + file.size, 0);
  expect(models).toHaveLength(2);
  // They have files in common.
  expect(bytes).toBeGreaterThan(size(TINY));
  expect(bytes).toBeLessThan(size(TINY) + size(TWIN));
  const why = "no agent runs here that could load it";
  expect(engines).toEqual([TINY, TWIN].map((model) => ({ model, engine: null, why })));
  const alone = await run({}, "chat", "--no-engine");
  expect(alone).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Read 1\.2 MB in [\d.]+ s \(.+\/s\)\n$/) });
  expect(await run({}, "no-such-model")).toMatchObject({ code: 64 });
});

it("has Ollama load a model where no agent runs, one for embeddings too", async () => {
  await using engine = await startOllamaEngine();
  const env = { OLLAMA_URL: engine.url };
  const loaded = await run(env, "chat");
  expect(loaded).toMatchObject({ code: 0, stdout: expect.stringContaining(`chat is loaded at ${engine.url}`) });
  expect((await engine.asked("/api/generate")).body).toMatchObject({ model: CHAT, prompt: "" });
  engine.script.refuse = { status: 400, message: '"chat" does not support generate' };
  const refused = await run(env, "chat");
  expect(refused).toMatchObject({ code: 75, stderr: expect.stringContaining("ENGINE_FAILED") });
  expect((await engine.asked("/api/embed")).body).toEqual({ model: CHAT, input: "Hi" });
  const gone = await run({ OLLAMA_URL: `http://127.0.0.1:${await closedPort()}` }, "chat");
  expect(gone).toMatchObject({ code: 75, stdout: expect.stringContaining("cannot be reached") });
});

it("has the running agent's engine load it", async () => {
  await using engine = await startOllamaEngine();
  const env = { OLLAMA_URL: engine.url, WORKER_TYPE: "both" };
  await using agent = startMuster(["start"], { ...at.env, ...env });
  await agent.line(/chat is ready on/);
  const before = engine.requests.length;
  // Not told of the engine: the agent is.
  const loaded = await run({}, "chat");
  expect(loaded).toMatchObject({ code: 0, stdout: expect.stringContaining(`chat is loaded at ${engine.url}`) });
  expect(engine.requests.slice(before).some(({ path }) => path === "/api/chat")).toBe(true);
  const other = await run({}, "twin");
  expect(other).toMatchObject({
    code: 75,
    stderr: expect.stringContaining("No engine of this worker serves acme/twin"),
  });
});

it("reads no model that is not whole", async () => {
  const folder = join(at.here.volume, "huggingface/hub/models--acme--tiny/snapshots", at.record(TINY).revision);
  rmSync(join(folder, "config.json"));
  expect(await run({}, TINY)).toMatchObject({ code: 1, stderr: expect.stringContaining("muster sync acme/tiny") });
});
