import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ExpectStatic, onTestFinished, test } from "vitest";
import type { Slots } from "../../src/job.ts";
import type { ModelSpec } from "../../src/model.ts";
import { startLocalApi } from "../../src/serve/local-api.ts";
import { openState } from "../../src/state.ts";
import { type Env, LAUNCHER, place, runMuster } from "../e2e/muster.ts";
import { chatAnswer, FakeEngine, holding } from "../serve/fake-engine.ts";
import { IMAGES } from "../serve/images.ts";
import { calls, chatJob, modelSpec, serving, taken } from "../serve/serving.ts";

/** A worker's jobs and socket in this process, for commands in others. */
async function worker(options: { slots?: Slots; models?: ModelSpec[]; engine?: FakeEngine } = {}) {
  const here = place();
  const { server, board, log, engine } = serving(options);
  const state = await openState({ stateDir: here.env.STATE_DIR!, workerId: "worker-1" });
  const onCommand = (command: string) => board.update({ state: command === "pause" ? "paused" : "syncing" });
  const api = await startLocalApi({ folder: state.folder, jobs: server, board, log, engineOf: () => null, onCommand });
  await state.publish(1, api.path);
  onTestFinished(async () => {
    await api.close();
    await state.close();
    here[Symbol.dispose]();
  });
  const muster = (...args: string[]) => runMuster(args, here.env);
  return { muster, server, board, engine, folder: here.folder, env: here.env as Env };
}

const ok = (expect: ExpectStatic, { code, stderr }: { code: number | null; stderr: string }) =>
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });

test("run chat prints the answer as it comes", async ({ expect }) => {
  const engine = new FakeEngine(async ({ call }) => {
    for (const content of ["Because ", "of Rayleigh."]) await call.onChunk?.({ choices: [{ delta: { content } }] });
    return chatAnswer("Because of Rayleigh.");
  });
  const { muster } = await worker({ engine });
  const streamed = await muster("run", "chat", "--system", "Be brief.", "Why", "blue?");
  ok(expect, streamed);
  expect(streamed.stdout).toBe("Because of Rayleigh.\n");
  const whole = await muster("run", "chat", "--json", "-m", "tiny", "--max-tokens", "9", "Why?");
  ok(expect, whole);
  expect(JSON.parse(whole.stdout)).toMatchObject({ output: chatAnswer("Because of Rayleigh.").output, usage: {} });
  expect(engine.chats).toEqual([
    {
      messages: [
        { role: "system", content: "Be brief." },
        { role: "user", content: "Why blue?" },
      ],
    },
    { messages: [{ role: "user", content: "Why?" }], max_tokens: 9 },
  ]);
});

test("run chat shows images, and takes the prompt from standard input", async ({ expect }) => {
  const slots = { chat: 1 };
  const { engine, env, folder } = await worker({ slots, models: [modelSpec("v", { task: "vision" })] });
  writeFileSync(join(folder, "a b.gif"), IMAGES["image/gif"]!);
  const piped = await runMuster(["-c", `echo What? | "${LAUNCHER}" run chat --image '${folder}/a b.gif'`], env, {
    command: ["sh"],
  });
  ok(expect, piped);
  expect(piped.stdout).toBe("Hello\n");
  expect(engine.chats[0]?.messages[0]?.content).toEqual([
    { type: "image_url", image_url: { url: expect.stringMatching(/^data:image\/gif;base64,R0lG/) } },
    { type: "text", text: "What?\n" },
  ]);
});

test("run embed prints a vector a line", async ({ expect }) => {
  const usage = { prompt_tokens: 2, total_tokens: 2 };
  const data = [{ embedding: [0.5, -1] }, { embedding: [2, 3] }];
  const engine = new FakeEngine(() => ({ output: { data, usage }, usage }));
  const { muster } = await worker({ engine, slots: { embedding: 1 }, models: [modelSpec("e", { task: "embedding" })] });
  const { stdout } = await muster("run", "embed", "a text", "another");
  expect(stdout).toBe("[0.5,-1]\n[2,3]\n");
  expect(engine.asked[0]?.body).toEqual({ input: ["a text", "another"] });
});

test("run ocr reads the files, and names the one that failed", async ({ expect }) => {
  const engine = new FakeEngine(({ body }) => {
    if (JSON.stringify(body).includes("image/gif")) throw new Error("too dark");
    return chatAnswer("# A page");
  });
  const { muster, folder } = await worker({ engine, slots: { ocr: 1 }, models: [modelSpec("v", { task: "vision" })] });
  const files = ["png", "gif"].map((type) => join(folder, `a.${type}`));
  for (const file of files) writeFileSync(file, IMAGES[`image/${file.slice(-3)}`]!);
  const { code, stdout, stderr } = await muster("run", "ocr", "--format", "markdown", ...files);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "# A page\n" });
  expect(stderr).toContain(`warning INTERNAL: ${files[1]}: Unexpected: too dark`);
  writeFileSync(join(folder, "schema.json"), '{"type":"object"}');
  const wrong = await muster("run", "ocr", "--schema", join(folder, "schema.json"), files[0]!);
  expect(wrong).toMatchObject({ code: 64, stdout: "" });
  expect(wrong.stderr).toContain("INVALID_INPUT: schema: is taken with format json only");
  const json = await muster("run", "ocr", "--json", files[0]!);
  ok(expect, json);
  expect(JSON.parse(json.stdout).output.pages).toEqual([{ page: 1, text: "# A page" }]);
});

test("jobs shows what runs, and pause, resume and drain are passed on", async ({ expect }) => {
  const { script, release } = holding();
  const { muster, server } = await worker({ engine: new FakeEngine(script), slots: { chat: 2 } });
  const running = taken(server.start(chatJob({ jobId: "job-1", attempt: 2 }), calls()));
  const { stdout } = await muster("jobs");
  expect(stdout).toMatch(
    /^state {2}ready\nfree {3}chat 1 of 2\njobs\n {2}job-1 {2}attempt 2 {2}chat {2}tiny {2}\d+ s\n$/,
  );
  expect(JSON.parse((await muster("jobs", "--json")).stdout)).toMatchObject({ jobs: [{ jobId: "job-1" }] });
  expect((await muster("pause")).stdout).toBe("The agent is paused\n");
  const refused = await muster("run", "chat", "Hi");
  expect(refused).toMatchObject({ code: 75, stdout: "" });
  expect(refused.stderr).toContain("BUSY: All slots for such jobs are taken, or the worker is paused.");
  expect(JSON.parse((await muster("resume", "--json")).stdout)).toEqual({ state: "ready" });
  release();
  await running;
});

test("without an agent they say so", async ({ expect }) => {
  using here = place();
  for (const args of [["jobs"], ["pause"], ["run", "chat", "Hi"]]) {
    const { code, stdout, stderr } = await runMuster(args, here.env);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain("AGENT_NOT_RUNNING: The agent cannot be asked: no agent runs on this state directory.");
  }
});
