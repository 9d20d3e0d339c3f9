import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parseMigList } from "../../src/detect/mig-list.ts";
import { fixture } from "./fake-tools.ts";

test("names each MIG device with its board, profile and UUID", () => {
  const listed = parseMigList(readFileSync(fixture("nvidia-smi/a100-mig.list.txt"), "utf8"));
  expect(listed).toHaveLength(7);
  expect(listed[6]).toEqual({
    boardUuid: "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77",
    index: 6,
    profile: "1g.5gb",
    uuid: "MIG-7df6b45c-a92d-5e09-8540-a6b389968c31",
  });
});

test("reads several boards, older UUIDs and compute slices; passes over the rest", () => {
  const output = [
    "Unable to do this",
    "  MIG 1g.5gb Device 0: (UUID: MIG-orphan)",
    "GPU 0: A100-SXM4-40GB (UUID: GPU-a)",
    "  MIG 1c.3g.20gb Device 0: (UUID: MIG-GPU-a/1/0)",
    "GPU 1: A100 (with brackets) (UUID: GPU-b)",
    "  MIG 3g.20gb+me Device 10: (UUID: MIG-b0)",
  ].join("\n");
  expect(parseMigList(output)).toEqual([
    { boardUuid: "GPU-a", index: 0, profile: "1c.3g.20gb", uuid: "MIG-GPU-a/1/0" },
    { boardUuid: "GPU-b", index: 10, profile: "3g.20gb+me", uuid: "MIG-b0" },
  ]);
});
