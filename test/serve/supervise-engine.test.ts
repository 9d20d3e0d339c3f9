import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import type { ModelSpec, StoredModel } from "../../src/model.ts";
import { engineEnvironment, superviseEngine } from "../../src/serve/engines/supervise-engine.ts";
import { settingMeta } from "../../src/settings/setting.ts";
import { settings } from "../../src/settings/settings.ts";
import { createStatusBoard } from "../../src/status.ts";
import { keptLog } from "../register/worker.ts";
import { machine } from "../select/machine.ts";
import { temporaryFolder } from "../store/temporary-folder.ts";
import { until } from "../until.ts";
import { spec } from "./engines/spec.ts";

/** A `vllm` that prints its arguments and some of its environment, and ends when it is told to. */
function fakeVllm(): string {
  const path = join(temporaryFolder(), "vllm");
  writeFileSync(
    path,
    '#!/bin/sh\necho "called with $*; $VLLM_API_KEY $OLLAMA_NUM_PARALLEL"\ntrap "exit 0" TERM\nwhile :; do sleep 0.02; done\n',
  );
  chmodSync(path, 0o755);
  return path;
}

function start(command: string[], models: ModelSpec[], env: Record<string, string> = {}) {
  const { log, lines } = keptLog();
  const board = createStatusBoard({ version: "1", workerId: "w", bootId: "b", workerType: "t" });
  const stop = new AbortController();
  const models_ = Promise.withResolvers<void>();
  const folder = temporaryFolder();
  const ended = superviseEngine(command, {
    ...{ config: parseConfig({ LOG_FILE: "none", ...env }), log, board, signal: stop.signal, when: models_.promise },
    plan: {
      models,
      hardware: machine([]),
      engineUrls: { ollama: null, vllm: "http://127.0.0.1:8000", openai: null },
      engineSettings: { "swap-space": 1 },
    },
    storedOf: async ({ id }) =>
      board.current.models.some((model) => model.id === id && model.state === "stored")
        ? ({ path: join(folder, id), files: [] } as Partial<StoredModel> as StoredModel)
        : null,
  });
  onTestFinished(() => {
    stop.abort();
    models_.resolve();
    return ended;
  });
  return { board, lines, folder, models: models_, stop: () => stop.abort(), ended };
}

test("an engine waits for the models, and is not started by an agent that leaves before", async () => {
  const engine = start(["/bin/sh", "-c", "echo up"], []);
  engine.stop();
  engine.models.resolve();
  await engine.ended;
  expect(engine.lines).toEqual([]);
  await start([], []).ended;
});

test("vLLM waits for its own model, optional or not, and is told what was derived", async () => {
  const command = [fakeVllm(), "serve", "--api-key", "of-the-operator"];
  const engine = start(command, [spec("tiny", {}, { required: false }), spec("other")], {
    VLLM_API_KEY: "engine-key-1",
  });
  engine.models.resolve();
  engine.board.setModel("other", { state: "stored" });
  const started = until("it is started", () => engine.lines.find(({ msg }) => msg.includes("called with")));
  // Nothing is looked for on the volume before; a turn of the loop shows that it waits.
  await new Promise((resolve) => setImmediate(resolve));
  expect(engine.lines).toEqual([]);
  engine.board.setModel("tiny", { state: "stored" });
  const { msg } = await started;
  const derived = `--swap-space 1 --served-model-name tiny --host 127.0.0.1 --port 8000 --max-model-len 4096`;
  const path = join(engine.folder, "tiny");
  expect(msg).toBe(`[engine] called with serve ${path} --api-key of-the-operator ${derived}; engine-key-1 `);
  const said = engine.lines.map((line) => line.msg).filter((line) => !line.startsWith("[engine]"));
  expect(said.slice(0, 3)).toEqual([
    "vLLM serves one model a process: other need a server of their own",
    `Derived from the plan: ${path} ${derived}`,
    `Starting engine ${command[0]}`,
  ]);
  expect(engine.board.current.supervised).toEqual({ program: command[0], starts: 1, running: true, error: null });
  engine.stop();
  await engine.ended;
});

test("the environment of an engine", () => {
  const config = parseConfig({ MODEL_CACHE_DIR: "/models", VLLM_CACHE: "/fast/vllm", LOG_FILE: "none" });
  const inherited = {
    PATH: "/bin",
    VLLM_USE_V1: "1",
    HF_HUB_OFFLINE: "0",
    HF_HOME: "/elsewhere",
    HF_TOKEN: "a",
    HUGGING_FACE_HUB_TOKEN: "a",
    HF_TOKEN_FILE: "/run/secrets/a",
    HF_TOKEN_PATH: "/run/secrets/a",
    COORDINATOR_TOKEN: "b",
    COORDINATOR_TOKEN_FILE: "/run/secrets/b",
    COORDINATOR_CERT_FILE: "/run/secrets/b.pem",
    COORDINATOR_KEY_FILE: "/run/secrets/b.key",
    OPENAI_API_KEY: "c",
    OPENAI_API_KEY_FILE: "/run/secrets/c",
    VLLM_API_KEY: "d",
    VLLM_API_KEY_FILE: "/run/secrets/d",
    TRANSFORMERS_CACHE: "/elsewhere",
  };
  const secrets = Object.keys(settings.shape).filter((name) => settingMeta(settings.shape[name as "HF_TOKEN"]).secret);
  expect(secrets.length).toBeGreaterThan(5);
  for (const name of [...secrets, ...secrets.map((each) => `${each}_FILE`)].filter((each) => each in settings.shape))
    Object.assign(inherited, { [name]: inherited[name as "HF_TOKEN"] ?? "e" });
  expect(engineEnvironment(config, { OLLAMA_NUM_PARALLEL: "4", HF_HOME: "/not-to-be-set" }, inherited)).toEqual({
    PATH: "/bin",
    VLLM_USE_V1: "1",
    VLLM_API_KEY: "d",
    OLLAMA_NUM_PARALLEL: "4",
    HF_HOME: "/models/huggingface",
    HF_HUB_CACHE: "/models/huggingface/hub",
    HF_HUB_OFFLINE: "1",
    OLLAMA_MODELS: "/models/ollama",
    OLLAMA_NOPRUNE: "1",
    OLLAMA_NO_CLOUD: "1",
    VLLM_CACHE_ROOT: "/fast/vllm",
  });
});
