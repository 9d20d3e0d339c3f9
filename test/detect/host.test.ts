import { availableParallelism } from "node:os";
import { describe, expect, test } from "vitest";
import { readHost } from "../../src/detect/host.ts";
import { fileTree } from "./file-tree.ts";

const GIB = 1024 ** 3;
const machine = {
  "proc/meminfo": `MemTotal:       ${64 * 1024 ** 2} kB\nMemFree:         ${2 * 1024 ** 2} kB\nMemAvailable:   ${40 * 1024 ** 2} kB`,
  "proc/cpuinfo":
    "processor\t: 0\nmodel name\t: AMD EPYC 7763 64-Core Processor\n\nprocessor\t: 1\nmodel name\t: other",
};
const v2 = "sys/fs/cgroup";
const v1 = "sys/fs/cgroup/memory";

async function read(files: Record<string, string>) {
  await using tree = await fileTree({ ...machine, ...files });
  return await readHost(tree.roots);
}

test("a machine without limits", async () => {
  expect(await read({})).toEqual({
    cpu: { model: "AMD EPYC 7763 64-Core Processor", cores: availableParallelism() },
    memory: { totalBytes: 64 * GIB, availableBytes: 40 * GIB, limitBytes: null },
  });
});

test("folders without anything: what the platform says", async () => {
  await using tree = await fileTree();
  const { cpu, memory } = await readHost(tree.roots);
  expect(cpu.model).not.toBe("");
  expect(cpu.cores).toBeGreaterThan(0);
  expect(memory.totalBytes).toBeGreaterThan(memory.availableBytes);
  expect(memory.limitBytes).toBeNull();
});

test("this machine", async () => {
  const { memory } = await readHost({ sys: "/sys", proc: "/proc" });
  expect(memory.totalBytes).toBeGreaterThan(0);
  expect(memory.availableBytes).toBeLessThanOrEqual(memory.totalBytes);
});

test("the model of an Arm board", async () => {
  const host = await read({ "proc/cpuinfo": "processor : 0\nCPU part : 0xd42\n\nModel : NVIDIA Jetson AGX Orin" });
  expect(host.cpu.model).toBe("NVIDIA Jetson AGX Orin");
});

describe("cgroup v2", () => {
  test("in a container its own group is the root", async () => {
    const { memory } = await read({
      "proc/self/cgroup": "0::/",
      [`${v2}/memory.max`]: String(16 * GIB),
      [`${v2}/memory.current`]: String(10 * GIB),
      [`${v2}/memory.stat`]: `anon 1\ninactive_file ${4 * GIB}\nactive_file 2`,
    });
    expect(memory).toEqual({ totalBytes: 16 * GIB, availableBytes: 10 * GIB, limitBytes: 16 * GIB });
  });

  test("the smallest limit on the way up wins, and max is none", async () => {
    const { memory } = await read({
      "proc/self/cgroup": "0::/kubepods.slice/pod1.slice/worker.scope",
      [`${v2}/kubepods.slice/memory.max`]: String(32 * GIB),
      [`${v2}/kubepods.slice/memory.current`]: String(31 * GIB),
      [`${v2}/kubepods.slice/pod1.slice/memory.max`]: String(8 * GIB),
      [`${v2}/kubepods.slice/pod1.slice/memory.current`]: String(2 * GIB),
      [`${v2}/kubepods.slice/pod1.slice/worker.scope/memory.max`]: "max",
    });
    // The pod is small, but it is the crowded slice above that has least left.
    expect(memory).toEqual({ totalBytes: 8 * GIB, availableBytes: 1 * GIB, limitBytes: 8 * GIB });
  });

  test("a path of the host that is not there falls back to the root", async () => {
    const { memory } = await read({
      "proc/self/cgroup": "0::/../../docker/0123456789ab",
      [`${v2}/memory.max`]: String(4 * GIB),
    });
    expect(memory.limitBytes).toBe(4 * GIB);
  });

  test("a limit above the machine's memory is one, without effect", async () => {
    const { memory } = await read({ "proc/self/cgroup": "0::/", [`${v2}/memory.max`]: String(128 * GIB) });
    expect(memory).toEqual({ totalBytes: 64 * GIB, availableBytes: 40 * GIB, limitBytes: 128 * GIB });
  });

  test("a group over its limit has nothing left", async () => {
    const files = { [`${v2}/memory.max`]: String(GIB), [`${v2}/memory.current`]: String(2 * GIB) };
    expect((await read({ "proc/self/cgroup": "0::/", ...files })).memory.availableBytes).toBe(0);
  });

  test.each([
    ["100000 100000", 1],
    ["150000 100000", 1],
    ["50000 100000", 1],
    ["max 100000", availableParallelism()],
    ["99900000 100000", availableParallelism()],
    ["nonsense", availableParallelism()],
  ])("cpu.max %s", async (quota, cores) => {
    const { cpu } = await read({ "proc/self/cgroup": "0::/a", [`${v2}/a/cpu.max`]: quota });
    expect(cpu.cores).toBe(cores);
  });
});

describe("cgroup v1", () => {
  const membership = "4:memory:/docker/0123\n3:cpu,cpuacct:/docker/0123\n1:name=systemd:/\n0::/";
  const none = "9223372036854771712";

  test("a limit, with the usage less the cache that can be dropped", async () => {
    const { memory } = await read({
      "proc/self/cgroup": membership,
      [`${v1}/memory.limit_in_bytes`]: String(6 * GIB),
      [`${v1}/memory.usage_in_bytes`]: String(3 * GIB),
      [`${v1}/memory.stat`]: `inactive_file 7\ntotal_inactive_file ${GIB}`,
    });
    expect(memory).toEqual({ totalBytes: 6 * GIB, availableBytes: 4 * GIB, limitBytes: 6 * GIB });
  });

  test("the huge number is no limit", async () => {
    const files = { [`${v1}/memory.limit_in_bytes`]: none, [`${v1}/docker/0123/memory.limit_in_bytes`]: none };
    expect((await read({ "proc/self/cgroup": membership, ...files })).memory.limitBytes).toBeNull();
  });

  test.each(["cpu,cpuacct", "cpu"])("the quota in the folder %s", async (folder) => {
    const files = (quota: string) => ({
      "proc/self/cgroup": membership,
      [`sys/fs/cgroup/${folder}/docker/0123/cpu.cfs_quota_us`]: quota,
      [`sys/fs/cgroup/${folder}/docker/0123/cpu.cfs_period_us`]: "100000",
    });
    expect((await read(files("100000"))).cpu.cores).toBe(1);
    expect((await read(files("-1"))).cpu.cores).toBe(availableParallelism());
  });

  test("beside it v2 is mounted as unified", async () => {
    const files = { "sys/fs/cgroup/unified/memory.max": String(2 * GIB) };
    expect((await read({ "proc/self/cgroup": membership, ...files })).memory.limitBytes).toBe(2 * GIB);
  });
});
