import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseNvidiaXml } from "../../src/detect/nvidia-xml.ts";
import { fixture } from "./fake-tools.ts";

const read = (name: string) => readFileSync(fixture(`nvidia-smi/${name}.xml`), "utf8");
const parse = (name: string) => parseNvidiaXml(read(name))!;

describe("real reports", () => {
  test.each([
    ["a10g", "515.105.01", "11.7", "NVIDIA A10G", "GPU-9a9a6c50-2a47-2f51-a902-b82c3b127e94", 23028, 22569, "8.6"],
    ["tesla-t4", "515.105.01", "11.7", "Tesla T4", "GPU-d37e67a5-91dd-3774-a5cb-99096249601a", 15360, 13939, "7.5"],
    [
      "rtx-3080-v12",
      "536.40",
      "12.2",
      "NVIDIA GeForce RTX 3080",
      "GPU-19d6d965-2acc-f646-00f8-4c76979aabb4",
      10240,
      8938,
      "8.6",
    ],
    [
      "rtx-3090-v12",
      "525.147.05",
      "12.0",
      "NVIDIA GeForce RTX 3090",
      "GPU-12345678-aaaa-bbbb-cccc-0123456789ab",
      24576,
      24258,
      "8.6",
    ],
    ["quadro-p400", "418.43", "10.1", "Quadro P400", "GPU-8f750be4-dfbc-23b9-b33f-da729a536494", 1998, 1998, "6.1"],
    ["gtx-1070-ti", null, null, "GeForce GTX 1070 Ti", "GPU-f9ba66fc-a7f5-94c5-da19-019ef2f9c665", 4096, 4054, "6.1"],
  ])("%s", (file, driverVersion, cudaVersion, name, uuid, memoryTotalMiB, memoryFreeMiB, computeCapability) => {
    const report = parse(file);
    expect(report).toMatchObject({ driverVersion, cudaVersion });
    expect(report.boards).toHaveLength(1);
    expect(report.boards[0]).toMatchObject({ index: 0, name, uuid, memoryTotalMiB, memoryFreeMiB, computeCapability });
    expect(report.boards[0]).toMatchObject({ migEnabled: false, migDevices: [], computeProhibited: false });
  });
});

test("MIG devices carry their own memory and, where the driver says it, their UUID", () => {
  const [plain] = parse("a100-mig").boards;
  expect(plain).toMatchObject({ migEnabled: true, computeCapability: "8.0" });
  expect(plain?.migDevices).toHaveLength(7);
  expect(plain?.migDevices[2]).toEqual({
    index: 2,
    uuid: null,
    gpuInstanceId: "9",
    computeInstanceId: "0",
    memoryTotalMiB: 4864,
    memoryFreeMiB: 4856,
  });
  const [named] = parse("a100-mig-uuid").boards;
  expect(named?.migDevices[0]?.uuid).toBe("MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f");
  expect(parse("a100-mig-empty").boards[0]).toMatchObject({ migEnabled: true, migDevices: [] });
});

test("a stated compute capability is taken", () => {
  expect(parse("h100-x2").boards.map((board) => [board.index, board.computeCapability])).toEqual([
    [0, "9.0"],
    [1, "9.0"],
  ]);
  const future = read("memory-unknown").replace("<mig_mode>", "<compute_cap>13.0</compute_cap><mig_mode>");
  expect(parseNvidiaXml(future)?.boards[0]?.computeCapability).toBe("13.0");
});

test("unknown memory is null, never zero", () => {
  for (const file of ["memory-unknown", "no-permission", "gb10", "orin"]) {
    expect(parse(file).boards[0], file).toMatchObject({ memoryTotalMiB: null, memoryFreeMiB: null });
  }
  const zero = read("tesla-t4").replace("<total>15360 MiB", "<total>0 MiB");
  expect(parseNvidiaXml(zero)?.boards[0]?.memoryTotalMiB).toBeNull();
  expect(parse("no-permission").boards[0]?.memoryDenied).toBe(true);
  expect(parse("memory-unknown").boards[0]?.memoryDenied).toBe(false);
  expect(parse("orin").boards[0]).toMatchObject({ uuid: null, pciAddress: null, computeCapability: "8.7" });
  expect(parse("gb10").boards[0]).toMatchObject({ addressingMode: "ATS", computeCapability: "12.1" });
});

test("a machine without devices is a report without boards", () => {
  expect(parse("no-devices")).toEqual({ driverVersion: "550.54.15", cudaVersion: "12.4", boards: [] });
});

test("what is no complete report is null", () => {
  const whole = read("h100-x2");
  for (const text of [
    "",
    "No devices were found",
    "<nvidia_smi_log>",
    whole.slice(0, -30),
    whole.slice(0, 1500),
    "{}",
  ]) {
    expect(parseNvidiaXml(text)).toBeNull();
  }
});

test("a board that cannot be read keeps its place", () => {
  const odd = read("h100-x2").replace(/<gpu id="00000000:19:00.0">[\s\S]*?<\/gpu>/, "<gpu>lost</gpu>");
  const boards = parseNvidiaXml(odd)?.boards;
  expect(boards?.map(({ index, name, memoryTotalMiB }) => [index, name, memoryTotalMiB])).toEqual([
    [0, "NVIDIA GPU", null],
    [1, "NVIDIA H100 80GB HBM3", 81559],
  ]);
});

describe("whatever comes", () => {
  const sound = (xml: string) => {
    const report = parseNvidiaXml(xml);
    for (const board of report?.boards ?? []) {
      const units = [board, ...board.migDevices];
      if (!units.every((unit) => unit.memoryTotalMiB === null || unit.memoryTotalMiB > 0)) return false;
      if (!/^.+$/.test(board.name) || !Number.isInteger(board.index)) return false;
    }
    return report === null || Array.isArray(report.boards);
  };

  test("any text", () => {
    fc.assert(fc.property(fc.string({ unit: "binary" }), sound));
    const fields = ["gpu", "mig_devices", "mig_device", "fb_memory_usage", "total", "uuid", "mig_mode", "__proto__"];
    const tag = fc.constantFrom(...fields.flatMap((name) => [`<${name}>`, `</${name}>`, `<${name}/>`]));
    const soup = fc.array(fc.oneof(tag, fc.string({ maxLength: 8 })), { maxLength: 30 }).map((parts) => parts.join(""));
    fc.assert(fc.property(soup, (inside) => sound(`<nvidia_smi_log>${inside}</nvidia_smi_log>`)));
  });

  test("a real report with a piece replaced", () => {
    const whole = read("a100-mig-uuid");
    const damage = fc.tuple(fc.nat(whole.length), fc.nat(400), fc.string({ maxLength: 20 }));
    fc.assert(
      fc.property(damage, ([from, length, text]) => sound(whole.slice(0, from) + text + whole.slice(from + length))),
    );
  });
});
