import { describe, expect, test } from "vitest";
import { detectAmd } from "../../src/detect/amd.ts";
import type { VisibilityEnv } from "../../src/detect/probe.ts";
import { type FakeTools, fakeTools } from "./fake-tools.ts";
import { drmCard, fileTree } from "./file-tree.ts";

const KFD = { "dev/kfd": "" };
const mi100 = (number: number, pci: string, render?: number) =>
  drmCard(number, { vendor: "0x1002", device: "0x738c", pci, render });

async function probe(tools: FakeTools, files: Record<string, string>, env: VisibilityEnv = {}, timeoutMs = 30_000) {
  await using tree = await fileTree(files);
  return await detectAmd({ env, roots: tree.roots, tools: { path: tools.path, timeoutMs } });
}

async function withRocmSmi(name = "mi100-rocm602"): Promise<FakeTools> {
  const tools = await fakeTools();
  await tools.printing("rocm-smi", { "*": `rocm-smi/${name}.json` });
  return tools;
}

test("a machine without AMD", async () => {
  await using tools = await fakeTools();
  expect(await probe(tools, KFD)).toEqual({
    vendor: "amd",
    gpus: [],
    driverVersion: null,
    runtimeVersion: null,
    warnings: [],
  });
});

test("amd-smi is asked first", async () => {
  await using tools = await withRocmSmi();
  await tools.printing("amd-smi", {
    "static*": "amd-smi/static.json",
    "metric*": "amd-smi/metric.json",
    "version*": "amd-smi/version.json",
  });
  const found = await probe(tools, KFD);
  expect(found).toMatchObject({ driverVersion: "6.12.12", runtimeVersion: "6.4.2", warnings: [] });
  expect(found.gpus).toHaveLength(2);
  expect(found.gpus[0]).toEqual({
    index: 0,
    name: "AMD Instinct MI300X",
    uuid: "GPU-6f1f0a2b3c4d5e6f",
    vendor: "amd",
    memoryTotalMiB: 196592,
    memoryFreeMiB: 196307,
    mig: false,
    unified: false,
    computeCapability: null,
  });
});

test("where only the facts of amd-smi come, the memory in use is unknown and said so", async () => {
  await using tools = await fakeTools();
  await tools.printing("amd-smi", { "static*": "amd-smi/static.json" });
  const { gpus, warnings } = await probe(tools, KFD);
  expect(gpus[0]).toMatchObject({ memoryTotalMiB: 196592, memoryFreeMiB: null });
  expect(warnings).toEqual([expect.stringContaining("amd-smi failed with exit code 2: unexpected: metric")]);
});

test.each([
  ["fails", 'echo "amdgpu not found in modules"; exit 255', /amd-smi failed with exit code 255: amdgpu not found/],
  ["writes garbage", "echo Traceback '(most recent call last)'", /amd-smi answered in a form/],
  ["writes other JSON", "echo '{\"gpus\": 3}'", /amd-smi answered in a form/],
])("rocm-smi is asked where amd-smi %s", async (_how, script, words) => {
  await using tools = await withRocmSmi();
  await tools.install("amd-smi", script);
  const { gpus, warnings } = await probe(tools, KFD);
  expect(gpus.map((gpu) => gpu.uuid)).toContain("GPU-04edfb117a17a07d");
  expect(warnings).toEqual([expect.stringMatching(words)]);
});

test("sysfs is read where the tools hang", async () => {
  await using tools = await fakeTools();
  await tools.install("rocm-smi", "exec sleep 600");
  const files = { "device/mem_info_vram_total": "34342961152", "device/mem_info_vram_used": "6750208" };
  const card = drmCard(3, { vendor: "0x1002", device: "0x738c", pci: "0000:83:00.0", render: 129, files });
  const other = drmCard(0, { vendor: "0x1a03", device: "0x2000", pci: "0000:02:00.0", render: 128 });
  const version = { "sys/module/amdgpu/version": "6.7.0" };
  const found = await probe(tools, { ...KFD, ...other, ...card, ...version }, {}, 200);
  expect(found.warnings).toEqual([expect.stringContaining("rocm-smi did not answer within 0.2 s")]);
  expect(found).toMatchObject({ driverVersion: "6.7.0", runtimeVersion: null });
  expect(found.gpus).toEqual([
    expect.objectContaining({
      index: 0,
      name: "AMD GPU 0x738c",
      uuid: "0000:83:00.0",
      memoryTotalMiB: 32752,
      memoryFreeMiB: 32745,
    }),
  ]);
});

test("sysfs of an accelerator has its name and serial, and may hide its memory", async () => {
  await using tools = await fakeTools();
  const files = { "device/product_name": "AMD Instinct MI210", "device/unique_id": "79ccd55167a2124a" };
  const card = drmCard(0, { vendor: "0x1002", device: "0x740f", pci: "0000:83:00.0", render: 128, files });
  const { gpus } = await probe(tools, { ...KFD, ...card });
  expect(gpus[0]).toMatchObject({ name: "AMD Instinct MI210", uuid: "GPU-79ccd55167a2124a", memoryTotalMiB: null });
});

describe("device nodes", () => {
  test("without /dev/kfd nothing is usable", async () => {
    await using tools = await withRocmSmi("rx6700xt-rocm612");
    const { gpus, warnings } = await probe(tools, {});
    expect(gpus).toEqual([]);
    expect(warnings).toEqual([expect.stringMatching(/Radeon RX 6700.*kfd is not there.*--device=\/dev\/kfd/)]);
  });

  test("cards whose render node this container was not given are left out in silence", async () => {
    await using tools = await withRocmSmi();
    const cards = { ...mi100(1, "0000:83:00.0", 128), ...mi100(2, "0000:a3:00.0"), ...mi100(3, "0000:c3:00.0") };
    const { gpus, warnings } = await probe(tools, { ...KFD, ...cards });
    expect(gpus.map((gpu) => gpu.index)).toEqual([0, 3]);
    expect(warnings).toEqual([]);
  });
});

describe("visibility", () => {
  const first = "GPU-79ccd55167a2124a";
  test.each<[VisibilityEnv, number[], number]>([
    [{ rocrVisibleDevices: "2,0" }, [2, 0], 0],
    [{ rocrVisibleDevices: first }, [0], 0],
    [{ rocrVisibleDevices: "GPU-04ed,3" }, [1, 3], 0],
    [{ rocrVisibleDevices: "" }, [], 1],
    [{ rocrVisibleDevices: "-1" }, [], 1],
    [{ rocrVisibleDevices: "1,9,2" }, [1], 1],
    [{ rocrVisibleDevices: "1,2", hipVisibleDevices: "1" }, [2], 0],
    [{ hipVisibleDevices: "3" }, [3], 0],
    [{ hipVisibleDevices: "", cudaVisibleDevices: "2" }, [2], 0],
    [{ hipVisibleDevices: "1", cudaVisibleDevices: "2" }, [1], 0],
    [{ hipVisibleDevices: "", cudaVisibleDevices: "" }, [0, 1, 2, 3], 0],
    [{ hipVisibleDevices: "x" }, [], 2],
  ])("%j", async (env, indices, warnings) => {
    await using tools = await withRocmSmi();
    const found = await probe(tools, KFD, env);
    expect(found.gpus.map((gpu) => gpu.index)).toEqual(indices);
    expect(found.warnings).toHaveLength(warnings);
  });
});
