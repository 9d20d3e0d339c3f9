import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { bareEnvironment, type Command, shell, type Task, type Tool, urlOf } from "./tool.ts";

/** One file, or with -Z as many at once as muster has connections. */
async function fetchAll(task: Task): Promise<Command> {
  const { set, folder, scratch, authority } = task;
  const trust = authority ? ["--cacert", authority] : [];
  const argv = ["curl", "-sSf", ...trust];
  if (set.files.length === 1) {
    const { path } = set.files[0]!;
    return { argv: [...argv, "-o", join(folder, path), urlOf(task, path)], env: bareEnvironment() };
  }
  const list = join(scratch, "curl.conf");
  const entries = set.files.map(({ path }) => `url = "${urlOf(task, path)}"\noutput = "${join(folder, path)}"\n`);
  await writeFile(list, entries.join(""));
  return { argv: [...argv, "-Z", "--parallel-max", "8", "-K", list], env: bareEnvironment() };
}

/** Digests of all files of a folder, by two processes where there are many files: the machine's cores. */
export const DIGEST_ALL = 'find "$1" -name "*.safetensors" -print0 | xargs -0 -P2 -n1 openssl dgst -sha256 >/dev/null';

export const curl: Tool = { name: "curl", needs: ["curl"], fetches: true, command: fetchAll };

export const curlTeeOpenssl: Tool = {
  name: "curl | tee | openssl dgst",
  needs: ["curl", "openssl"],
  fetches: true,
  command(task) {
    const { path } = task.set.files[0]!;
    return shell(
      'curl -sSf "$1" | tee "$2" | openssl dgst -sha256 >/dev/null',
      urlOf(task, path),
      join(task.folder, path),
    );
  },
};

export const curlThenOpenssl: Tool = {
  name: "curl, then openssl dgst",
  needs: ["curl", "openssl"],
  fetches: true,
  async command(task) {
    const { argv } = await fetchAll(task);
    return shell(`folder=$1; shift; "$@"; set -- "$folder"; ${DIGEST_ALL}`, task.folder, ...argv);
  },
};
