import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { VisibilityEnv } from "../../src/detect/probe.ts";
import { type NvidiaUnit, visibleNvidiaUnits } from "../../src/detect/visible-devices.ts";

function board(index: number, uuid: string, name = "NVIDIA A10"): NvidiaUnit {
  const memory = { memoryTotalMiB: 24576, memoryFreeMiB: 24000 };
  const gpu = { index, uuid, name, vendor: "nvidia" as const, ...memory, mig: false, unified: false };
  return { boardUuid: uuid, mig: null, prohibited: false, gpu: { ...gpu, computeCapability: "8.6" } };
}

function slice(index: number, boardUuid: string, device: number): NvidiaUnit {
  const { gpu } = board(index, `MIG-${device}${device}-of-${boardUuid}`, `NVIDIA A100 MIG ${device}`);
  const mig = { index: device, gpuInstanceId: String(device + 7), computeInstanceId: "0" };
  return { boardUuid, mig, prohibited: false, gpu: { ...gpu, mig: true } };
}

const one = [board(0, "GPU-aaaa-1111")];
const four = ["GPU-aaaa-1111", "GPU-aaaa-2222", "GPU-bbbb-3333", "GPU-cccc-4444"].map((uuid, i) => board(i, uuid));
const sliced = [board(0, "GPU-aaaa-1111"), ...[0, 1, 2].map((device) => slice(1, "GPU-bbbb-2222", device))];

const see = (units: NvidiaUnit[], env: VisibilityEnv) => {
  const { units: visible, warnings } = visibleNvidiaUnits(units, env);
  return { uuids: visible.map((unit) => unit.gpu.uuid), indices: visible.map((unit) => unit.gpu.index), warnings };
};

describe("NVIDIA_VISIBLE_DEVICES", () => {
  test.each([undefined, "", "all", "void", " ALL ", "/var/run/nvidia-container-devices", "nvidia.com/gpu=all"])(
    "%s takes nothing away",
    (nvidiaVisibleDevices) => {
      expect(see(four, { nvidiaVisibleDevices })).toMatchObject({ indices: [0, 1, 2, 3], warnings: [] });
    },
  );

  test("none hides all", () => {
    expect(see(four, { nvidiaVisibleDevices: "none" })).toMatchObject({ indices: [], warnings: [expect.any(String)] });
  });

  test.each([
    ["1", one],
    ["7", one],
    ["5,6,7,9", four],
    ["3,1,2,0", four],
    ["1:0,1:1,1:2,4:0", sliced],
  ])("%s was carried out by the runtime where as many are shown", (nvidiaVisibleDevices, shown) => {
    const all = shown.map((unit) => unit.gpu.uuid);
    expect(see(shown, { nvidiaVisibleDevices })).toMatchObject({ uuids: all, warnings: [] });
  });

  test("indices narrow where more GPUs are shown than named", () => {
    expect(see(four, { nvidiaVisibleDevices: "3,1" })).toMatchObject({ indices: [1, 3], warnings: [] });
    expect(see(four, { nvidiaVisibleDevices: "nvidia.com/gpu=2" })).toMatchObject({ indices: [2], warnings: [] });
    const partly = see(four, { nvidiaVisibleDevices: "2,9" });
    expect(partly.indices).toEqual([2]);
    expect(partly.warnings).toEqual([expect.stringContaining("names 9")]);
  });

  test("indices that do not exist hide nothing", () => {
    const { indices, warnings } = see(four, { nvidiaVisibleDevices: "8" });
    expect(indices).toEqual([0, 1, 2, 3]);
    expect(warnings).toEqual([expect.stringContaining("all that it shows are used")]);
  });

  test("UUIDs narrow, by an unambiguous beginning too", () => {
    expect(see(four, { nvidiaVisibleDevices: "GPU-bbbb-3333,gpu-aaaa-1111" }).indices).toEqual([0, 2]);
    expect(see(four, { nvidiaVisibleDevices: "GPU-b" }).indices).toEqual([2]);
    expect(see(four, { nvidiaVisibleDevices: "GPU-aaaa-2222,3" }).indices).toEqual([1, 3]);
  });

  test("a UUID that is not shown, or fits two GPUs, leaves nothing else", () => {
    for (const nvidiaVisibleDevices of ["GPU-ffff", "GPU-aaaa", "MIG-1"]) {
      const { uuids, warnings } = see(four, { nvidiaVisibleDevices });
      expect(uuids).toEqual([]);
      expect(warnings).toEqual([expect.stringContaining("no GPU is left")]);
    }
  });

  test("MIG devices go by UUID, by board and index, by board, and by instance", () => {
    expect(see(sliced, { nvidiaVisibleDevices: "MIG-11" }).uuids).toEqual(["MIG-11-of-GPU-bbbb-2222"]);
    expect(see(sliced, { nvidiaVisibleDevices: "1:2" }).uuids).toEqual(["MIG-22-of-GPU-bbbb-2222"]);
    expect(see(sliced, { nvidiaVisibleDevices: "1" }).uuids).toHaveLength(3);
    expect(see(sliced, { nvidiaVisibleDevices: "GPU-bbbb" }).uuids).toHaveLength(3);
    const instance = see(sliced, { nvidiaVisibleDevices: "MIG-GPU-bbbb-2222/8/0" });
    expect(instance.uuids).toEqual(["MIG-11-of-GPU-bbbb-2222"]);
  });

  test("a MIG UUID cannot hide devices whose UUID could not be learned", () => {
    const unnamed = slice(0, "GPU-x", 0);
    unnamed.gpu.uuid = "MIG-GPU-x/7/0";
    expect(see([unnamed], { nvidiaVisibleDevices: "MIG-c6d4f1ef" }).uuids).toEqual(["MIG-GPU-x/7/0"]);
  });

  test("what is not understood hides nothing", () => {
    const { indices, warnings } = see(four, { nvidiaVisibleDevices: "first" });
    expect(indices).toEqual([0, 1, 2, 3]);
    expect(warnings).toEqual([expect.stringContaining("not understood")]);
  });
});

describe("CUDA_VISIBLE_DEVICES", () => {
  test.each([
    ["0", [0]],
    ["2,1", [2, 1]],
    [" 3 , 0 ", [3, 0]],
    ["0,0,1", [0, 1]],
    ["GPU-cccc,0", [3, 0]],
    ["GPU-BBBB-3333", [2]],
  ])("%s keeps %j in its order", (cudaVisibleDevices, indices) => {
    expect(see(four, { cudaVisibleDevices })).toMatchObject({ indices, warnings: [] });
  });

  test.each(["", " ", "-1", "NoDevFiles", "-1,0"])("'%s' hides all", (cudaVisibleDevices) => {
    expect(see(four, { cudaVisibleDevices })).toMatchObject({ indices: [], warnings: [expect.any(String)] });
  });

  test("stops at the first entry that names nothing", () => {
    expect(see(four, { cudaVisibleDevices: "0,2,-1,1" })).toMatchObject({ indices: [0, 2], warnings: [] });
    for (const cudaVisibleDevices of ["0,9,1", "0,GPU-aaaa,1", "0,one,1", "0,,1", "0,0x1,1"]) {
      const { indices, warnings } = see(four, { cudaVisibleDevices });
      expect(indices).toEqual([0]);
      expect(warnings).toEqual([expect.stringContaining("CUDA ignores it and all that follows")]);
    }
  });

  test("counts within what NVIDIA_VISIBLE_DEVICES left, and keeps the driver's index", () => {
    expect(see(four, { nvidiaVisibleDevices: "1,3", cudaVisibleDevices: "1" }).indices).toEqual([3]);
    expect(see(one, { nvidiaVisibleDevices: "1", cudaVisibleDevices: "1" }).indices).toEqual([]);
    expect(see(sliced, { cudaVisibleDevices: "2" }).uuids).toEqual(["MIG-11-of-GPU-bbbb-2222"]);
    expect(see(sliced, { cudaVisibleDevices: "MIG-GPU-bbbb-2222/9/0" }).uuids).toEqual(["MIG-22-of-GPU-bbbb-2222"]);
  });

  test("positions among unlike GPUs are doubtful unless the order is fixed", () => {
    const unlike = [board(0, "GPU-1", "Tesla T4"), board(1, "GPU-2", "NVIDIA A10")];
    expect(see(unlike, { cudaVisibleDevices: "0" }).warnings).toEqual([expect.stringContaining("CUDA_DEVICE_ORDER")]);
    expect(see(unlike, { cudaVisibleDevices: "0", cudaDeviceOrder: "PCI_BUS_ID" }).warnings).toEqual([]);
    expect(see(unlike, { cudaVisibleDevices: "0,1" }).warnings).toEqual([]);
    expect(see(unlike, { cudaVisibleDevices: "GPU-1" }).warnings).toEqual([]);
  });
});

describe("for any setting", () => {
  const words = [
    "all",
    "none",
    "void",
    "-1",
    "NoDevFiles",
    "0",
    "1",
    "7",
    "1:1",
    "0:9",
    "GPU-a",
    "GPU-bbbb-2222",
    "MIG-1",
  ];
  const entry = fc.oneof(fc.constantFrom(...words), fc.nat(5).map(String), fc.string({ maxLength: 6 }));
  const setting = fc.option(
    fc.array(entry, { maxLength: 5 }).map((entries) => entries.join(",")),
    { nil: undefined },
  );
  const shown = fc.constantFrom<NvidiaUnit[]>([], one, four, sliced);

  test("only what is shown is visible, once, and unchanged", () => {
    fc.assert(
      fc.property(shown, setting, setting, (units, nvidiaVisibleDevices, cudaVisibleDevices) => {
        const { units: visible } = visibleNvidiaUnits(units, { nvidiaVisibleDevices, cudaVisibleDevices });
        expect(visible.every((unit) => units.includes(unit))).toBe(true);
        expect(new Set(visible).size).toBe(visible.length);
      }),
    );
  });

  test("CUDA_VISIBLE_DEVICES only takes away, and nothing is hidden without a word", () => {
    fc.assert(
      fc.property(shown, setting, setting, (units, nvidiaVisibleDevices, cudaVisibleDevices) => {
        const before = visibleNvidiaUnits(units, { nvidiaVisibleDevices }).units;
        const after = visibleNvidiaUnits(units, { nvidiaVisibleDevices, cudaVisibleDevices });
        expect(after.units.every((unit) => before.includes(unit))).toBe(true);
        if (units.length > 0 && after.units.length === 0) expect(after.warnings.length).toBeGreaterThan(0);
      }),
    );
  });

  test("indices in NVIDIA_VISIBLE_DEVICES never hide every GPU", () => {
    const index = fc.oneof(
      fc.nat(20).map(String),
      fc.tuple(fc.nat(9), fc.nat(9)).map((pair) => pair.join(":")),
    );
    fc.assert(
      fc.property(fc.constantFrom(one, four, sliced), fc.array(index), (units, indices) => {
        const { units: visible } = visibleNvidiaUnits(units, { nvidiaVisibleDevices: indices.join(",") });
        expect(visible.length).toBeGreaterThan(0);
      }),
    );
  });
});
