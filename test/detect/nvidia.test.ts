import { describe, expect, test } from "vitest";
import { detectNvidia } from "../../src/detect/nvidia.ts";
import type { VisibilityEnv } from "../../src/detect/probe.ts";
import { type FakeTools, fakeTools, fixture } from "./fake-tools.ts";
import { fileTree } from "./file-tree.ts";

const MEMINFO = "MemTotal:       127600748 kB\nMemFree:         1000000 kB\nMemAvailable:   118566368 kB";
const AMPLE_MS = 30_000;

async function probe(tools: FakeTools, options: { env?: VisibilityEnv; timeoutMs?: number; driver?: boolean } = {}) {
  const { env = {}, timeoutMs = AMPLE_MS, driver = false } = options;
  const version: Record<string, string> = driver ? { "proc/driver/nvidia/version": "NVRM version: 550.54.15" } : {};
  await using tree = await fileTree({ "proc/meminfo": MEMINFO, ...version });
  return await detectNvidia({ env, roots: tree.roots, tools: { path: tools.path, timeoutMs } });
}

const report = (tools: FakeTools, name: string) =>
  tools.printing("nvidia-smi", { "'-q -x'": `nvidia-smi/${name}.xml` });

describe("devices", () => {
  test("one board", async () => {
    await using tools = await fakeTools();
    await report(tools, "tesla-t4");
    expect(await probe(tools)).toEqual({
      vendor: "nvidia",
      driverVersion: "515.105.01",
      runtimeVersion: "11.7",
      warnings: [],
      gpus: [
        {
          index: 0,
          name: "Tesla T4",
          uuid: "GPU-d37e67a5-91dd-3774-a5cb-99096249601a",
          vendor: "nvidia",
          memoryTotalMiB: 15360,
          memoryFreeMiB: 13939,
          mig: false,
          unified: false,
          computeCapability: "7.5",
        },
      ],
    });
  });

  test("several boards, narrowed by the environment", async () => {
    await using tools = await fakeTools();
    await report(tools, "h100-x2");
    expect((await probe(tools)).gpus.map((gpu) => gpu.index)).toEqual([0, 1]);
    const narrowed = await probe(tools, { env: { nvidiaVisibleDevices: "GPU-1a2b9" } });
    expect(narrowed.gpus.map((gpu) => [gpu.index, gpu.memoryFreeMiB])).toEqual([[1, 12]]);
    const hidden = await probe(tools, { env: { cudaVisibleDevices: "" } });
    expect(hidden).toMatchObject({
      gpus: [],
      driverVersion: "580.65.06",
      warnings: [expect.stringContaining("empty")],
    });
  });

  test("MIG devices stand in their board's place, named by nvidia-smi -L", async () => {
    await using tools = await fakeTools();
    await tools.printing("nvidia-smi", {
      "'-q -x'": "nvidia-smi/a100-mig.xml",
      "'-L'": "nvidia-smi/a100-mig.list.txt",
    });
    const { gpus, warnings } = await probe(tools);
    expect(warnings).toEqual([]);
    expect(gpus).toHaveLength(7);
    expect(gpus[1]).toEqual({
      index: 0,
      name: "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
      uuid: "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb",
      vendor: "nvidia",
      memoryTotalMiB: 4864,
      memoryFreeMiB: 4857,
      mig: true,
      unified: false,
      computeCapability: "8.0",
    });
    const env = { nvidiaVisibleDevices: "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f" };
    expect((await probe(tools, { env })).gpus).toHaveLength(1);
  });

  test("nvidia-smi -L is not asked where the report has the UUIDs", async () => {
    await using tools = await fakeTools();
    await report(tools, "a100-mig-uuid");
    const { gpus, warnings } = await probe(tools);
    expect(gpus.map((gpu) => gpu.uuid)).toContain("MIG-7df6b45c-a92d-5e09-8540-a6b389968c31");
    expect(warnings).toEqual([]);
  });

  test("without a usable nvidia-smi -L, MIG devices go by their instances", async () => {
    await using tools = await fakeTools();
    await report(tools, "a100-mig");
    const { gpus, warnings } = await probe(tools);
    expect(gpus[0]?.uuid).toBe("MIG-GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77/7/0");
    expect(warnings).toEqual([expect.stringContaining("nvidia-smi -L")]);
  });

  test("a board with MIG on and no MIG device is not usable", async () => {
    await using tools = await fakeTools();
    await report(tools, "a100-mig-empty");
    expect(await probe(tools)).toMatchObject({ gpus: [], warnings: [expect.stringContaining("no MIG device")] });
  });

  test("a prohibited board is left out; beside MIG the indices stay the driver's", async () => {
    await using tools = await fakeTools();
    await report(tools, "mixed");
    const { gpus, warnings } = await probe(tools);
    expect(gpus.map((gpu) => [gpu.index, gpu.mig, gpu.memoryTotalMiB])).toEqual([
      [0, false, 24576],
      [2, true, 4864],
      [2, true, 4864],
    ]);
    expect(warnings).toEqual([expect.stringContaining("Prohibited")]);
    const second = { cudaVisibleDevices: "1", cudaDeviceOrder: "PCI_BUS_ID" };
    expect((await probe(tools, { env: second })).gpus).toEqual([]);
    const third = await probe(tools, { env: { ...second, cudaVisibleDevices: "2" } });
    expect(third).toMatchObject({ gpus: [{ index: 2, mig: true }], warnings: [] });
  });

  test.each(["gb10", "orin"])("%s has the machine's memory", async (name) => {
    await using tools = await fakeTools();
    await report(tools, name);
    const { gpus, warnings } = await probe(tools);
    expect(gpus[0]).toMatchObject({ unified: true, memoryTotalMiB: 124610, memoryFreeMiB: 115787 });
    expect(warnings).toEqual([]);
  });

  test("sharing addresses is not sharing memory", async () => {
    await using tools = await fakeTools();
    await report(tools, "gh200");
    expect((await probe(tools)).gpus[0]).toMatchObject({ unified: false, memoryTotalMiB: 97871 });
  });

  test.each([
    ["no-permission", "Insufficient Permissions"],
    ["memory-unknown", "does not say how much memory"],
  ])("%s: the GPU stays, with its memory unknown and a warning", async (name, words) => {
    await using tools = await fakeTools();
    await report(tools, name);
    const { gpus, warnings } = await probe(tools);
    expect(gpus[0]).toMatchObject({ memoryTotalMiB: null, memoryFreeMiB: null, unified: false });
    expect(warnings).toEqual([expect.stringContaining(words)]);
  });
});

describe("failures", () => {
  test("no nvidia-smi is nothing odd, unless the machine has the driver", async () => {
    await using tools = await fakeTools();
    expect(await probe(tools)).toMatchObject({ gpus: [], warnings: [] });
    const { warnings } = await probe(tools, { driver: true });
    expect(warnings).toEqual([expect.stringMatching(/--gpus all.*NVIDIA_DRIVER_CAPABILITIES=compute,utility/)]);
  });

  const noDriver =
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA " +
    "driver is installed and running.";
  test.each([
    [noDriver, 9, /install or load it on the host.*--gpus all/],
    ["Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.54", 18, /reboot the host/],
    ["Failed to initialize NVML: Insufficient Permissions", 4, /\/dev\/nvidia\*/],
    ["Failed to initialize NVML: Unknown Error", 255, /restart the container/],
    ["NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.", 12, /NVIDIA_DRIVER_CAPABILITIES/],
    ["No devices were found", 6, /shows no GPU/],
    ["No devices were found", 0, /shows no GPU/],
    ["Unable to determine the device handle for GPU 0000:01:00.0: GPU is lost.", 15, /reboot the host/],
    ["", 9, /couldn't communicate/],
    ["Segmentation fault", 139, /failed with exit code 139: Segmentation fault/],
    ["", 3, /failed with exit code 3, and said nothing\./],
    ["<html>\\007 garbage ]]> &&& {", 0, /did not answer as expected: <html> garbage/],
    ["", 0, /did not answer as expected, and said nothing/],
  ])("'%s' with exit code %i", async (words, exitCode, advice) => {
    await using tools = await fakeTools();
    await tools.install("nvidia-smi", `printf '%b\\n' "${words}"; exit ${exitCode}`);
    const { gpus, warnings } = await probe(tools);
    expect(gpus).toEqual([]);
    expect(warnings).toEqual([expect.stringMatching(advice)]);
  });

  test("a report without boards", async () => {
    await using tools = await fakeTools();
    await report(tools, "no-devices");
    const found = await probe(tools);
    expect(found).toMatchObject({ gpus: [], driverVersion: "550.54.15", warnings: [expect.stringMatching(/no GPU/)] });
  });

  test("a complete report counts although the exit code complains", async () => {
    await using tools = await fakeTools();
    const file = fixture("nvidia-smi/no-permission.xml");
    await tools.install(
      "nvidia-smi",
      `cat "${file}"; echo "WARNING: infoROM is corrupted at gpu 0000:07:00.0"; exit 14`,
    );
    // The trailing line must not spoil the report, nor foreign process names choose the advice.
    const { gpus, warnings } = await probe(tools);
    expect(gpus).toHaveLength(1);
    expect(warnings[0]).toContain("infoROM");
  });

  test("a hang is said to be one", async () => {
    await using tools = await fakeTools();
    await tools.install("nvidia-smi", "exec sleep 600");
    const { gpus, warnings } = await probe(tools, { timeoutMs: 200 });
    expect(gpus).toEqual([]);
    expect(warnings).toEqual([expect.stringContaining("did not answer within 0.2 s")]);
  });
});
