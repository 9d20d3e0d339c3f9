import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { judgeMount } from "../../../src/cli/doctor/mount.ts";
import { mountOf } from "../../../src/cli/doctor/mount-info.ts";
import type { Container } from "../../../src/container.ts";

const recorded = (name: string) => readFileSync(join(import.meta.dirname, "mountinfo", `${name}.txt`), "utf8");
const DOCKER: Container = { runtime: "docker", id: null };

function judge(name: string, path: string, container: Container | null = null) {
  return judgeMount(path, mountOf(path, recorded(name))!, container);
}

describe("the mount of a path", () => {
  it("is the innermost, the latest of several, and knows names with spaces", () => {
    const text = recorded("docker");
    expect(mountOf("/models/huggingface", text)).toMatchObject({
      point: "/models",
      type: "xfs",
      source: "/dev/nvme1n1",
    });
    expect(mountOf("/models2", text)).toMatchObject({ point: "/", type: "overlay" });
    expect(mountOf("/mnt/read only/x", text)).toMatchObject({ point: "/mnt/read only", type: "ext4" });
    const again = `${text}2000 1033 0:99 / /models rw - tmpfs tmpfs rw\n`;
    expect(mountOf("/models", again)).toMatchObject({ type: "tmpfs" });
    expect(mountOf("/models", "nonsense\n\n1 2 3")).toBeNull();
  });
});

describe("doctor about the mount", () => {
  it.each([
    { name: "docker", path: "/models", container: DOCKER, found: "/models is xfs (/dev/nvme1n1)" },
    {
      name: "nfs",
      path: "/mnt/good",
      container: null,
      found: "/mnt/good is nfs4 (10.0.0.5:/export/models), version 4.2, hard, 8 connections",
    },
    // What is not the container's own goes with nothing.
    { name: "odd", path: "/var/models", container: null, found: "/var/models is ext4 (/dev/vda1 at /)" },
  ])("has nothing against $path", ({ name, path, container, found }) => {
    expect(judge(name, path, container)).toEqual([{ name: "mount", result: "ok", found }]);
  });

  it.each([
    {
      name: "docker",
      path: "/data",
      what: "it goes when the container goes",
      hint: "docker run -v /data/ai-models:/data",
    },
    { name: "docker", path: "/mnt/read only", what: "it is mounted read-only", hint: "without `:ro`" },
    { name: "odd", path: "/mnt/memory", what: "it is memory", hint: "docker run -v" },
    { name: "odd", path: "/mnt/smb", what: "imitated over SMB", hint: "mfsymlinks" },
    { name: "odd", path: "/mnt/bucket", what: "a bucket renames by copying", hint: "HF_ENDPOINT=s3://" },
    { name: "odd", path: "/mnt/stick", what: "files end at 4 GiB", hint: "mkfs.xfs" },
    { name: "odd", path: "/mnt/sshfs", what: "over sshfs", hint: "NFS" },
    { name: "odd", path: "/mnt/ntfs", what: "no links", hint: "mkfs.xfs" },
    { name: "nfs", path: "/mnt/soft", what: "soft: ", hint: "umount /mnt/soft" },
  ])("warns of $path", ({ name, path, what, hint }) => {
    expect(judge(name, path, DOCKER)).toEqual([
      { name: "mount", result: "warn", found: expect.stringContaining(what), hint: expect.stringContaining(hint) },
    ]);
  });

  it("has a line for each thing that makes NFS slow, and none for locks it does not need", () => {
    const found = judge("nfs", "/mnt/slow").map((check) => check.found.replace(/^.*?\): /, ""));
    expect(found).toEqual([
      "noac or sync: every write waits for the server",
      "rsize=8192 makes it slow",
      "wsize=8192 makes it slow",
    ]);
  });
});
