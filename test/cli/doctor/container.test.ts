import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { checkContainer } from "../../../src/cli/doctor/container.ts";
import type { Container } from "../../../src/container.ts";
import type { Gpu } from "../../../src/hardware.ts";
import { fileTree } from "../../detect/file-tree.ts";
import { mountTmpfs } from "../../store/mount.ts";

const ID = "3f4e5d6c7b8a".padEnd(64, "0");
const docker: Container = { runtime: "docker", id: ID };
const gpu = { name: "NVIDIA L4" } as Gpu;
const auto = { enableGpu: "auto" } as const;
const DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.133.20  Sun Mar 30 03:32:06 UTC 2026";

it("tells which container it is, or that it is none", async () => {
  await using at = await fileTree({
    "proc/self/limits": "Max open files            1048576              1048576              files",
  });
  const [inside] = await checkContainer(auto, docker, { gpus: [] }, at.roots);
  expect(inside).toEqual({
    name: "container",
    result: "ok",
    found: expect.stringMatching(/^docker 3f4e5d6c7b8a, user \d+:\d+$/),
  });
  const [outside] = await checkContainer(auto, null, { gpus: [] }, at.roots);
  expect(outside?.found).toMatch(/^none, a host, user /);
});

it("knows that the host has a GPU that this container was not given, and how each runtime gives it", async () => {
  await using at = await fileTree({ "proc/driver/nvidia/version": DRIVER });
  const [check] = await checkContainer(auto, docker, { gpus: [] }, at.roots);
  expect(check).toMatchObject({
    result: "warn",
    found: "the host has NVIDIA driver 570.133.20, and gave this container no GPU",
  });
  expect(check?.hint).toContain("--gpus all");
  const hintOf = async (runtime: Container["runtime"]) =>
    (await checkContainer(auto, { runtime, id: null }, { gpus: [] }, at.roots))[0]?.hint;
  expect(await hintOf("kubernetes")).toContain("nvidia.com/gpu: 1");
  expect(await hintOf("podman")).toContain("--device nvidia.com/gpu=all");
  // Who has them, wants none, or is on the host itself is told nothing.
  for (const [config, container, gpus] of [
    [auto, docker, [gpu]],
    [{ enableGpu: "false" } as const, docker, []],
    [auto, null, []],
  ] as const) {
    expect((await checkContainer(config, container, { gpus: [...gpus] }, at.roots))[0]?.result).toBe("ok");
  }
});

it("warns of too few open files, and of little shared memory where several GPUs meet in it", async ({ skip }) => {
  await using at = await fileTree({
    "proc/self/limits": "Max open files            1024                 4096                 files",
  });
  const [files] = await checkContainer(auto, docker, { gpus: [gpu] }, at.roots);
  expect(files).toMatchObject({
    result: "warn",
    found: "only 1024 files may be open at once",
    hint: expect.stringContaining("--ulimit"),
  });
  const shm = mountTmpfs(64 << 20, skip);
  symlinkSync(shm, join(at.roots.proc, "shm"));
  const checks = await checkContainer(auto, docker, { gpus: [gpu, gpu] }, { ...at.roots, dev: at.roots.proc });
  expect(checks[0]).toMatchObject({
    result: "warn",
    found: "/dev/shm has 64 MiB, which is too little for vLLM on 2 GPUs",
    hint: expect.stringContaining("--shm-size"),
  });
});
