/** What /proc/self/mountinfo says of one mount; see proc(5). */
export interface Mount {
  /** Where it is to be seen. */
  point: string;
  /** `ext4`, `nfs4`, `overlay`, `fuse.sshfs` … */
  type: string;
  /** A device, `server:/export`, or a word. */
  source: string;
  /** Of the mount and of its file system; those without a value have an empty one. */
  options: ReadonlyMap<string, string>;
}

/** The mount that holds the path, which has to be absolute and without links; null where none does. */
export function mountOf(path: string, mountinfo: string): Mount | null {
  const holding = mountinfo
    .split("\n")
    .map(parse)
    .filter(
      (mount) => mount !== null && (mount.point === "/" || path === mount.point || path.startsWith(`${mount.point}/`)),
    );
  // Of two mounts on the same place the later one hides the first.
  return holding.reduce(
    (best, mount) => (mount && mount.point.length >= (best?.point.length ?? 0) ? mount : best),
    null,
  );
}

function parse(line: string): Mount | null {
  const [before = "", after = ""] = line.split(" - ");
  const [, , , , point, own = ""] = before.split(" ");
  const [type, source = "", inner = ""] = after.split(" ");
  if (!point || !type) return null;
  // Of the file system itself first: a mount may be read-only where that is not.
  const options = [...inner.split(","), ...own.split(",")].map((option): [string, string] => {
    const [name = "", ...value] = option.split("=");
    return [name, value.join("=")];
  });
  return { point: withSpaces(point), type, source: withSpaces(source), options: new Map(options) };
}

/** Spaces and the like stand as octal numbers. */
function withSpaces(text: string): string {
  return text.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
