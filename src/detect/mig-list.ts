/** A MIG device as `nvidia-smi -L` names it. */
export interface MigListing {
  boardUuid: string;
  /** Number of the device on its board. */
  index: number;
  /** Such as "1g.5gb" or "1c.3g.20gb". */
  profile: string;
  uuid: string;
}

/** The MIG devices in the output of `nvidia-smi -L`; lines of another form are passed over. */
export function parseMigList(output: string): MigListing[] {
  const found: MigListing[] = [];
  let boardUuid: string | undefined;
  for (const line of output.split("\n")) {
    boardUuid = /^GPU \d+: .*\(UUID: (GPU-[^)\s]+)\)/.exec(line)?.[1] ?? boardUuid;
    const device = /^\s+MIG (\S+)\s+Device\s+(\d+):\s+\(UUID: (MIG-[^)\s]+)\)/.exec(line);
    if (boardUuid === undefined || device === null) continue;
    const [, profile = "", index = "", uuid = ""] = device;
    found.push({ boardUuid, index: Number(index), profile, uuid });
  }
  return found;
}
