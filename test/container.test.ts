import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { ownContainer } from "../src/container.ts";
import { temporaryFolder } from "./store/temporary-folder.ts";

const ID = "3f4e5d6c7b8a99887766554433221100ffeeddccbbaa00112233445566778899";

function root(files: Record<string, string>): string {
  const folder = temporaryFolder();
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return folder;
}

it.each([
  { what: "a host", files: { "proc/self/cgroup": "0::/user.slice/user-1000.slice\n" }, env: {}, is: null },
  {
    what: "Docker with cgroup v2",
    files: {
      ".dockerenv": "",
      "proc/self/cgroup": "0::/\n",
      "proc/self/mountinfo": `1041 1033 253:1 /var/lib/docker/containers/${ID}/hostname /etc/hostname rw - ext4 /dev/vda1 rw\n`,
    },
    env: {},
    is: { runtime: "docker", id: ID },
  },
  {
    what: "Docker with cgroup v1",
    files: { ".dockerenv": "", "proc/self/cgroup": `12:memory:/docker/${ID}\n` },
    env: {},
    is: { runtime: "docker", id: ID },
  },
  {
    what: "Podman",
    files: { "run/.containerenv": `engine="podman-5.4.0"\nname="worker"\nid="${ID}"\n` },
    env: { container: "podman" },
    is: { runtime: "podman", id: ID },
  },
  {
    what: "a pod of Kubernetes",
    files: { "proc/self/cgroup": `0::/kubepods.slice/cri-containerd-${ID}.scope\n` },
    env: { KUBERNETES_SERVICE_HOST: "10.0.0.1" },
    is: { runtime: "kubernetes", id: ID },
  },
  {
    what: "something else that says so",
    files: {},
    env: { container: "systemd-nspawn" },
    is: { runtime: "unknown", id: null },
  },
])("knows $what", async ({ files, env, is }) => {
  expect(await ownContainer(root(files as Record<string, string>), env)).toEqual(is);
});
