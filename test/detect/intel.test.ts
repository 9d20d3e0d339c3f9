import { expect, test } from "vitest";
import { detectIntel } from "../../src/detect/intel.ts";
import { type FakeTools, fakeTools } from "./fake-tools.ts";
import { drmCard, fileTree } from "./file-tree.ts";

const arc = (files: Record<string, string>, render: number | undefined = 129) =>
  drmCard(1, { vendor: "0x8086", device: "0x56a0", pci: "0000:03:00.0", render, files });
const integrated = drmCard(0, { vendor: "0x8086", device: "0x46a6", pci: "0000:00:02.0", render: 128 });

async function probe(tools: FakeTools, files: Record<string, string>) {
  await using tree = await fileTree(files);
  return await detectIntel({ env: {}, roots: tree.roots, tools: { path: tools.path, timeoutMs: 30_000 } });
}

test("xpu-smi tells memory and driver", async () => {
  await using tools = await fakeTools();
  await tools.printing("xpu-smi", {
    "'discovery -j'": "xpu-smi/discovery.json",
    "'discovery -d 0 -j'": "xpu-smi/device.json",
    "'stats -d 0 -j'": "xpu-smi/stats.json",
  });
  const found = await probe(tools, {});
  expect(found).toMatchObject({ driverVersion: "1.3.27642.40", runtimeVersion: null });
  expect(found.gpus).toEqual([
    {
      index: 0,
      name: "Intel(R) Data Center GPU Max 1550",
      uuid: "00000000-0000-000a-0000-002f0bd58086",
      vendor: "intel",
      memoryTotalMiB: 131072,
      memoryFreeMiB: 130943,
      mig: false,
      unified: false,
      computeCapability: null,
    },
    expect.objectContaining({ index: 1, memoryTotalMiB: null }),
  ]);
  expect(found.warnings).toEqual([expect.stringContaining("memory of GPU 1")]);
});

test.each([
  [
    "xe, per tile",
    { "device/tile0/physical_vram_size_bytes": "8589934592", "device/tile1/physical_vram_size_bytes": "8589934592" },
  ],
  ["i915 with Intel's additions", { lmem_total_bytes: "17179869184" }],
])("sysfs of %s", async (_driver, files) => {
  await using tools = await fakeTools();
  const { gpus, warnings } = await probe(tools, { ...integrated, ...arc(files) });
  expect(gpus).toEqual([
    expect.objectContaining({ index: 0, name: "Intel GPU 0x56a0", uuid: "0000:03:00.0", memoryTotalMiB: 16384 }),
  ]);
  expect(gpus[0]?.memoryFreeMiB).toBeNull();
  expect(warnings).toEqual([]);
});

test("sysfs that does not tell the memory", async () => {
  await using tools = await fakeTools();
  await tools.install("xpu-smi", "echo 'Error: Level Zero Initialization Error'; exit 1");
  const { gpus, warnings } = await probe(tools, arc({}));
  expect(gpus).toEqual([expect.objectContaining({ memoryTotalMiB: null, memoryFreeMiB: null })]);
  expect(warnings).toEqual([
    expect.stringContaining("xpu-smi failed with exit code 1: Error: Level Zero"),
    expect.stringContaining("is not known"),
  ]);
});

test("a card that this container was not given is not usable", async () => {
  await using tools = await fakeTools();
  const card = drmCard(1, { vendor: "0x8086", device: "0x56a0", pci: "0000:03:00.0" });
  const { gpus, warnings } = await probe(tools, card);
  expect(gpus).toEqual([]);
  expect(warnings).toEqual([expect.stringMatching(/renderD201 is not there.*--device=\/dev\/dri/)]);
});

test("graphics within the processor are no GPU to compute on", async () => {
  await using tools = await fakeTools();
  expect(await probe(tools, integrated)).toMatchObject({ gpus: [], warnings: [] });
});
