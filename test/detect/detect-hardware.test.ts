import { access } from "node:fs/promises";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { type DetectOptions, detectHardware } from "../../src/detect/detect-hardware.ts";
import { type FakeTools, fakeTools } from "./fake-tools.ts";
import { drmCard, fileTree } from "./file-tree.ts";

const machine = {
  "proc/meminfo": "MemTotal: 1048576 kB\nMemAvailable: 524288 kB",
  "proc/cpuinfo": "model name : A CPU",
};
const nvidia = (tools: FakeTools) => tools.printing("nvidia-smi", { "'-q -x'": "nvidia-smi/tesla-t4.xml" });
const amd = (tools: FakeTools) => tools.printing("rocm-smi", { "*": "rocm-smi/rx6700xt-rocm612.json" });
const arc = drmCard(1, {
  vendor: "0x8086",
  device: "0x56a0",
  pci: "0000:03:00.0",
  render: 129,
  files: { lmem_total_bytes: "17179869184" },
});

async function detect(tools: FakeTools, files: Record<string, string>, options: Partial<DetectOptions> = {}) {
  await using tree = await fileTree({ ...machine, ...files });
  const { path } = tools;
  return await detectHardware({
    enableGpu: "auto",
    env: {},
    roots: tree.roots,
    tools: { path, timeoutMs: 30_000 },
    ...options,
  });
}

test("a machine without GPUs is nothing odd", async () => {
  await using tools = await fakeTools();
  const hardware = await detect(tools, {});
  expect(hardware).toMatchObject({
    gpus: [],
    gpuVendor: null,
    driverVersion: null,
    runtimeVersion: null,
    warnings: [],
  });
  expect(hardware.cpu.model).toBe("A CPU");
  expect(hardware.memory).toEqual({ totalBytes: 1024 ** 3, availableBytes: 512 * 1024 ** 2, limitBytes: null });
});

test("unless one is required", async () => {
  await using tools = await fakeTools();
  const { warnings } = await detect(tools, {}, { enableGpu: "true" });
  expect(warnings).toEqual([expect.stringContaining("ENABLE_GPU=true")]);
});

test("the vendor that has GPUs", async () => {
  await using tools = await fakeTools();
  await amd(tools);
  const hardware = await detect(tools, { "dev/kfd": "" }, { enableGpu: "true" });
  expect(hardware).toMatchObject({ gpuVendor: "amd", driverVersion: "6.3.6", runtimeVersion: null, warnings: [] });
  expect(hardware.gpus.map((gpu) => gpu.vendor)).toEqual(["amd"]);
});

test("NVIDIA is taken before AMD and Intel, with a warning", async () => {
  await using tools = await fakeTools();
  await Promise.all([nvidia(tools), amd(tools)]);
  const hardware = await detect(tools, { "dev/kfd": "", ...arc });
  expect(hardware).toMatchObject({ gpuVendor: "nvidia", driverVersion: "515.105.01", runtimeVersion: "11.7" });
  expect(hardware.gpus.map((gpu) => gpu.name)).toEqual(["Tesla T4"]);
  expect(hardware.warnings).toEqual([expect.stringMatching(/NVIDIA \(Tesla T4\) is used, not AMD .* and Intel .*\./)]);
});

test("a vendor whose GPUs are all hidden leaves the place to the next", async () => {
  await using tools = await fakeTools();
  await nvidia(tools);
  const hardware = await detect(tools, arc, { env: { cudaVisibleDevices: "" } });
  expect(hardware.gpuVendor).toBe("intel");
  expect(hardware.warnings).toEqual([expect.stringContaining("CUDA_VISIBLE_DEVICES is set but empty")]);
});

test("the driver is known even where no GPU is usable", async () => {
  await using tools = await fakeTools();
  await nvidia(tools);
  const hardware = await detect(tools, {}, { env: { cudaVisibleDevices: "-1" } });
  expect(hardware).toMatchObject({ gpus: [], gpuVendor: null, driverVersion: "515.105.01", runtimeVersion: "11.7" });
});

test("with GPUs switched off nobody is asked", async () => {
  await using tools = await fakeTools();
  for (const name of ["nvidia-smi", "amd-smi", "rocm-smi", "xpu-smi"]) await tools.install(name, "exec sleep 600");
  const hardware = await detect(tools, { "dev/kfd": "", ...arc }, { enableGpu: "false" });
  expect(hardware).toMatchObject({ gpus: [], gpuVendor: null, warnings: [] });
});

test("tools of all vendors that hang are asked side by side and end as warnings", async () => {
  await using tools = await fakeTools();
  for (const name of ["nvidia-smi", "xpu-smi"]) await tools.install(name, "exec sleep 600");
  const { gpus, warnings } = await detect(tools, {}, { tools: { path: tools.path, timeoutMs: 200 } });
  expect(gpus).toEqual([]);
  expect(warnings).toEqual([
    expect.stringContaining("nvidia-smi did not answer within 0.2 s"),
    expect.stringContaining("xpu-smi did not answer within 0.2 s"),
  ]);
});

test("the signal ends it with its own reason", async () => {
  await using tools = await fakeTools();
  const started = join(tools.path, "started");
  for (const name of ["amd-smi", "xpu-smi"]) await tools.install(name, "exec sleep 600");
  await tools.install("nvidia-smi", `touch "${started}"; exec sleep 600`);
  const stop = new AbortController();
  const reason = new Error("stopping");
  const ended = expect(detect(tools, {}, { signal: stop.signal })).rejects.toBe(reason);
  await vi.waitFor(() => access(started), 30_000);
  stop.abort(reason);
  await ended;
  await expect(detect(tools, {}, { signal: stop.signal })).rejects.toBe(reason);
});

test("PATH is the process's own where none is given", async () => {
  await using tools = await fakeTools();
  await nvidia(tools);
  const before = process.env.PATH;
  process.env.PATH = tools.path;
  try {
    expect((await detect(tools, {}, { tools: {} })).gpuVendor).toBe("nvidia");
  } finally {
    process.env.PATH = before;
  }
});
