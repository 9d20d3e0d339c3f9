import { readFile, realpath } from "node:fs/promises";
import { join } from "node:path";
import type { Container } from "../../container.ts";
import { type Check, SYSTEM } from "./check.ts";
import { type Mount, mountOf } from "./mount-info.ts";

/** Bytes a request, below which NFS is slow however fast the network. */
const SMALL_REQUEST = 65_536;

/** What kind of place the volume is. `container`: this process runs in one. */
export async function checkMount(path: string, container: Container | null, { proc } = SYSTEM): Promise<Check[]> {
  const text = await readFile(join(proc, "self/mountinfo"), "utf8").catch(() => "");
  const real = await realpath(path).catch(() => null);
  const mount = real && mountOf(real, text);
  return mount ? judgeMount(path, mount, container) : [];
}

/** A line for each thing that stands against it, or one. */
export function judgeMount(path: string, mount: Mount, container: Container | null): Check[] {
  const name = "mount";
  const { type, source, point } = mount;
  const found = `${path} is ${type} (${source}${point === path ? "" : ` at ${point}`})`;
  const troubles = [...ofPlace(mount, path, container), ...ofKind(mount), ...(isNfs(type) ? ofNfs(mount) : [])];
  if (troubles.length === 0)
    return [{ name, result: "ok", found: isNfs(type) ? `${found}, ${nfsWords(mount)}` : found }];
  return troubles.map(([what, hint]) => ({ name, result: "warn", found: `${found}: ${what}`, hint }));
}

/** What is wrong, and what to do about it. */
type Trouble = [what: string, hint: string];

function ofPlace({ type, options, point }: Mount, path: string, container: Container | null): Trouble[] {
  const again = `Mount a folder or a volume there: \`docker run -v /data/ai-models:${path} …\`.`;
  const troubles: Trouble[] = [];
  if (container && point === "/") troubles.push(["it goes when the container goes", again]);
  if (type === "tmpfs" || type === "ramfs") troubles.push(["it is memory, and gone after a restart", again]);
  if (options.has("ro")) {
    const hint = "With all models in place that is fine; to fetch, mount it without `:ro`.";
    troubles.push(["it is mounted read-only", hint]);
  }
  return troubles;
}

function ofKind({ type }: Mount): Trouble[] {
  if (/^(vfat|msdos)$/.test(type))
    return [["files end at 4 GiB, and there are no links", "Format it as ext4 or XFS: `mkfs.xfs DEVICE`."]];
  if (/^(exfat|ntfs3?|fuseblk)$/.test(type))
    return [
      [
        "it has no links that Linux tools can read, so that models are kept twice",
        "Format it as ext4 or XFS: `mkfs.xfs DEVICE`.",
      ],
    ];
  if (/^(cifs|smb3?)$/.test(type))
    return [
      [
        "links and owners are imitated over SMB, and reading is slow",
        "Export it by NFS; or mount it with `-o mfsymlinks,nobrl,uid=1000,gid=1000`.",
      ],
    ];
  if (/^fuse\.(s3fs|gcsfuse|rclone|goofys|blobfuse2?|mount-s3|geesefs)/.test(type))
    return [
      [
        "a bucket renames by copying, and has no exclusive files for leases",
        "Use a disk here, and the bucket as a source: `HF_ENDPOINT=s3://bucket/prefix`.",
      ],
    ];
  if (type === "fuse.sshfs")
    return [["renames over sshfs do not replace files, and leases are not exclusive", "Export it by NFS."]];
  return [];
}

const isNfs = (type: string) => type === "nfs" || type === "nfs4";

function ofNfs({ options, point }: Mount): Trouble[] {
  const remount = (wanted: string) => `On the host: \`umount ${point}\`, then mount it with \`-o ${wanted}\`.`;
  const troubles: Trouble[] = [];
  if (options.has("soft") || options.has("softerr"))
    troubles.push([
      "soft: a server that is slow for a moment becomes an I/O error in the middle of a file",
      remount("hard"),
    ]);
  if (options.has("noac") || options.has("sync"))
    troubles.push(["noac or sync: every write waits for the server", remount("hard,ac,async")]);
  for (const size of ["rsize", "wsize"]) {
    const bytes = Number(options.get(size) ?? SMALL_REQUEST);
    if (bytes < SMALL_REQUEST)
      troubles.push([`${size}=${bytes} makes it slow`, remount("hard,rsize=1048576,wsize=1048576")]);
  }
  if (options.get("vers") === "2") troubles.push(["NFS 2 ends files at 2 GiB", remount("hard,vers=4.2")]);
  return troubles;
}

function nfsWords({ options }: Mount): string {
  const words = [`version ${options.get("vers") ?? "unknown"}`, options.has("hard") ? "hard" : "soft"];
  if (options.has("nolock") || (options.get("local_lock") ?? "none") !== "none")
    words.push("without locks of the server (muster's leases need none)");
  const nconnect = options.get("nconnect");
  if (nconnect) words.push(`${nconnect} connections`);
  return words.join(", ");
}
