import { join } from "node:path";
import { DIGEST_ALL } from "./curl.ts";
import { bareEnvironment, shell, type Tool } from "./tool.ts";

/** What nobody who verifies can be faster than: the digests of the sources, nothing fetched and nothing written. */
export const hashFloor: Tool = {
  name: "hash floor",
  needs: ["openssl"],
  fetches: false,
  command({ set }) {
    if (set.files.length > 1) return shell(DIGEST_ALL, set.folder);
    const argv = ["openssl", "dgst", "-sha256", join(set.folder, set.files[0]!.path)];
    return { argv, env: bareEnvironment() };
  },
};

/** What nobody who syncs can be faster than: a copy of the source, and the disk's word that it has it. */
export const diskFloor: Tool = {
  name: "dd conv=fsync",
  needs: ["dd"],
  fetches: true,
  command({ set, folder }) {
    const { path } = set.files[0]!;
    const [from, to] = [join(set.folder, path), join(folder, path)];
    return { argv: ["dd", `if=${from}`, `of=${to}`, "bs=4M", "conv=fsync", "status=none"], env: bareEnvironment() };
  },
};
