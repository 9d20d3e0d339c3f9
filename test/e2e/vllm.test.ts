import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "vitest";
import { fakeTools } from "../detect/fake-tools.ts";
import { startHub } from "../fakes/hub/hub.ts";
import { causalLmRepo, safetensorsFile } from "../fakes/tiny-models.ts";
import { until } from "../until.ts";
import { isRunning } from "./is-running.ts";
import { place, runMuster, startMuster } from "./muster.ts";
import { closedPort } from "./services.ts";

const CATALOG = {
  models: {
    tiny: {
      task: "chat",
      contextLength: 2048,
      variants: [
        {
          source: "huggingface",
          repo: "acme/tiny",
          engine: "vllm",
          adapters: [{ name: "tiny-sql", source: "huggingface", repo: "acme/tiny-sql" }],
        },
      ],
    },
    seer: { task: "vision", variants: [{ source: "ollama", name: "llava:7b", engine: "ollama", sizeBytes: 4e9 }] },
  },
  workerTypes: {
    gpu: {
      gpu: "required",
      models: ["tiny", { model: "seer", optional: true }],
      slots: { chat: 6 },
      engineSettings: { "enable-prefix-caching": true, VLLM_LOGGING_LEVEL: "WARNING" },
    },
  },
};

const ADAPTER = {
  "adapter_config.json": JSON.stringify({ peft_type: "LORA", r: 24, base_model_name_or_path: "acme/tiny" }),
  "adapter_model.safetensors": safetensorsFile({
    tensors: { "base.lora_A.weight": { dtype: "F16", shape: [24, 64] } },
    seed: "sql",
  }),
  "checkpoint-5/adapter_model.safetensors": safetensorsFile({
    tensors: { "base.lora_A.weight": { dtype: "F16", shape: [24, 64] } },
    seed: "5",
  }),
};

/**
 * A vLLM that fails at its first start, then serves what it was told to under the names it was told. It leaves a child of
 * its own behind when it ends.
 */
const VLLM = `#!/usr/bin/env node
import { spawn } from "node:child_process";
import { appendFileSync, existsSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
const folder = process.env.FAKE_VLLM;
const args = process.argv.slice(2);
const child = spawn("sleep", ["600"], { stdio: "inherit" });
appendFileSync(folder + "/starts", JSON.stringify({ pid: process.pid, child: child.pid, args, env: process.env }) + "\\n");
if (!existsSync(folder + "/failed")) {
  writeFileSync(folder + "/failed", "");
  console.log("loading");
  console.error("torch.OutOfMemoryError");
  process.exit(3);
}
const after = (flag) => args[args.indexOf(flag) + 1];
const names = [after("--served-model-name"), after("--lora-modules").split("=")[0]];
createServer((request, response) => {
  if (request.url === "/v1/models") return response.end(JSON.stringify({ data: names.map((id) => ({ id })) }));
  if (request.url === "/version") return response.end('{"version":"0.11.0"}');
  request.resume();
  response.end('data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\\n\\ndata: [DONE]\\n\\n');
}).listen(Number(after("--port")), after("--host"));
process.on("SIGTERM", () => { console.log("vllm leaves"); process.exit(0); });
`;

test("start -- vllm serve: arguments as planned, started again after a crash, ended with all that it left", async ({
  expect,
}) => {
  await using hub = await startHub({
    repos: [
      { id: "acme/tiny", files: causalLmRepo("acme/tiny") },
      { id: "acme/tiny-sql", files: ADAPTER },
    ],
  });
  await using tools = await fakeTools();
  await tools.printing("nvidia-smi", { "'-q -x'": "nvidia-smi/rtx-3090-v12.xml" });
  const port = await closedPort();
  using here = place({
    ENABLE_GPU: undefined,
    WORKER_TYPE: "gpu",
    HF_ENDPOINT: hub.url,
    PATH: `${tools.path}:${process.env.PATH}`,
    VLLM_URL: `http://127.0.0.1:${port}`,
  });
  const [bin, catalog, starts] = [
    join(here.folder, "bin"),
    join(here.folder, "types.json"),
    join(here.folder, "starts"),
  ];
  mkdirSync(bin);
  writeFileSync(catalog, JSON.stringify(CATALOG));
  writeFileSync(join(bin, "vllm"), VLLM);
  writeFileSync(join(bin, "package.json"), '{"type":"module"}');
  chmodSync(join(bin, "vllm"), 0o755);
  const env = {
    ...here.env,
    WORKER_TYPES_FILE: catalog,
    FAKE_VLLM: here.folder,
    PATH: `${bin}:${here.env.PATH}`,
  };

  await using agent = startMuster(["start", "--", "vllm", "serve", "--seed", "1"], env);
  await agent.line(/ERROR The engine vllm ended \(exit code 3\); its last words: loading \| torch\.OutOfMemoryError/);
  await agent.line(/WARN {2}Starting engine vllm again in \d+\.\d s/);
  await agent.line(/INFO {2}tiny is ready on vLLM/);
  await agent.line(/INFO {2}tiny-sql is ready on vLLM/);

  const ran = readFileSync(starts, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(ran).toHaveLength(2);
  const [, model = "", ...args]: string[] = ran[1].args;
  expect(model).toMatch(/\/huggingface\/hub\/models--acme--tiny\/snapshots\/[0-9a-f]{40}$/);
  expect(existsSync(join(model, "config.json"))).toBe(true);
  const line = args.join(" ");
  const share = Number(/--gpu-memory-utilization (\S+)/.exec(line)?.[1]);
  // What is needed of 24 GiB beside the other model: 2.5 GiB and a little more.
  expect(share).toBeGreaterThan(0.104);
  expect(share).toBeLessThan(0.12);
  const adapter = join(here.volume, "huggingface/hub/models--acme--tiny-sql/snapshots");
  expect(line.replace(/[0-9a-f]{40}/, "COMMIT")).toBe(
    `--seed 1 --enable-prefix-caching --served-model-name tiny --host 127.0.0.1 --port ${port} --max-model-len 2048 ` +
      `--gpu-memory-utilization ${share} --max-num-seqs 6 --enable-lora --max-loras 1 --max-lora-rank 32 --lora-modules tiny-sql=${adapter}/COMMIT`,
  );
  expect(existsSync(join(args.at(-1)!.split("=")[1]!, "checkpoint-5"))).toBe(false);
  expect(ran[1].env).toMatchObject({ VLLM_LOGGING_LEVEL: "WARNING", HF_HUB_OFFLINE: "1" });

  const { stdout: planned } = await runMuster(["plan", "--json"], env);
  const [vllm, ollama] = JSON.parse(planned).engines;
  expect([...vllm.command.slice(0, 3), "--seed", "1", ...vllm.command.slice(3)]).toEqual(["vllm", ...ran[1].args]);
  expect(ollama).toMatchObject({ command: ["ollama", "serve"], environment: { OLLAMA_NUM_PARALLEL: "6" } });
  expect((await runMuster(["plan"], env)).stdout).toContain(`  ${vllm.command.join(" ")}\n`);

  const { stdout: status } = await runMuster(["status"], env);
  expect(status).toMatch(/supervised {3}vllm, runs, started 2 times; The engine vllm ended \(exit code 3\); its last/);

  agent.kill("SIGTERM");
  expect((await agent.exited).code).toBe(0);
  expect(agent.stdout.join("\n")).toContain("[engine] vllm leaves");
  for (const { pid, child } of ran) {
    await until("nobody is left", () => !isRunning(pid) && !isRunning(child));
  }
});
