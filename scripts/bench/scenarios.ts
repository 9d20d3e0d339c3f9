import type { DataSet } from "./hub/data.ts";
import { CAP, type PortName } from "./hub/nginx.ts";
import type { Link } from "./link/open-link.ts";
import { LARGEST, SEGMENT } from "./link/window.ts";
import { aria2c, python } from "./tools/clients.ts";
import { curl, curlTeeOpenssl, curlThenOpenssl } from "./tools/curl.ts";
import { diskFloor, hashFloor } from "./tools/floors.ts";
import { muster, musterUnverified, nodeNothing } from "./tools/muster.ts";
import type { Tool } from "./tools/tool.ts";

/** One comparison: what is fetched, over what, by whom. */
export interface Scenario {
  name: ScenarioName;
  title: string;
  /** What a reader has to know of it. */
  about: string;
  set: DataSet;
  port: PortName;
  link?: Link;
  /** Everything is there already; the files of the first, unmeasured run stay. */
  warm?: boolean;
  /** For every tool. */
  env?: Record<string, string>;
  tools: Tool[];
}

export const SCENARIOS = [
  "one-file",
  "many-files",
  "slow-hash",
  "slow-hashes",
  "small-files",
  "capped",
  "long",
  "lossy",
  "https",
  "unverified",
  "warm",
] as const;
export type ScenarioName = (typeof SCENARIOS)[number];

/** Bit 29 of the processor's extended features (CPUID leaf 7, EBX), as OPENSSL_ia32cap(3) hides it from OpenSSL, Node's as well. */
const NO_SHA = {
  env: { OPENSSL_ia32cap: ":~0x20000000" },
  about:
    "As above on a processor without SHA extensions, like many of servers: OpenSSL, that of Node too, is told not to use them.",
};
const KIB = 2 ** 10;
const MIB = 2 ** 20;

/** All of them, with sizes that are shares of the one large file's. */
export function allScenarios(mib: number): Scenario[] {
  const share = (part: number) => Math.max(1, Math.round(mib / part));
  const one = dataSet("one", 1, mib * MIB);
  const many = dataSet("many", 8, share(8) * MIB);
  const small = dataSet("small", Math.max(60, Math.round((mib * 2000) / 4096)), 64 * KIB);
  const medium = dataSet("medium", 1, share(4) * MIB);
  const little = dataSet("little", 1, share(128) * MIB);
  const warm = dataSet("sixty", 60, 64 * KIB);
  const rate = ((SEGMENT * 1.22) / (0.1 * Math.sqrt(0.001)) / MIB).toFixed(2);
  const model = `Each connection starts slowly, with ten segments of ${SEGMENT} bytes doubled each round trip`;
  return [
    {
      name: "one-file",
      title: `1 × ${inWords(mib)}`,
      about:
        "The hash floor is `openssl dgst -sha256` of the source alone: nothing fetched, nothing written; `dd conv=fsync` is a copy of the source to the disk. curl, aria2c and Python verify no digest, and only muster syncs the file to the disk.",
      set: one,
      port: "plain",
      tools: [curl, curlTeeOpenssl, curlThenOpenssl, aria2c, python, hashFloor, diskFloor, muster],
    },
    {
      name: "many-files",
      title: `8 × ${inWords(share(8))}`,
      about:
        "curl is `curl -Z --parallel-max 8`; digests and the hash floor are of two openssl processes side by side.",
      set: many,
      port: "plain",
      tools: [curl, curlThenOpenssl, python, hashFloor, muster],
    },
    {
      name: "slow-hash",
      title: `1 × ${inWords(mib)} without SHA extensions`,
      about: `${NO_SHA.about} The hash is the slower half here: what counts is that it overlaps the transfer.`,
      set: one,
      port: "plain",
      env: NO_SHA.env,
      tools: [curlTeeOpenssl, curlThenOpenssl, python, hashFloor, muster],
    },
    {
      name: "slow-hashes",
      title: `8 × ${inWords(share(8))} without SHA extensions`,
      about: NO_SHA.about,
      set: many,
      port: "plain",
      env: NO_SHA.env,
      tools: [curlThenOpenssl, python, hashFloor, muster],
    },
    {
      name: "small-files",
      title: `${small.files.length} × 64 KiB`,
      about:
        "curl is `curl -Z --parallel-max 8` with a list of addresses. Each run has a new folder; nothing is deleted between runs.",
      set: small,
      port: "plain",
      tools: [curl, python, muster],
    },
    {
      name: "capped",
      title: `1 × ${inWords(share(4))}, each connection capped`,
      about: `The server gives ${CAP / 1e6} MB/s to each connection (\`limit_rate\` of nginx).`,
      set: medium,
      port: "capped",
      tools: [curl, aria2c, python, muster],
    },
    {
      name: "long",
      title: `1 × ${inWords(share(4))}, 100 ms round trip`,
      about: `50 ms each way. ${model}, up to a window of ${LARGEST / MIB} MiB: ${(LARGEST / MIB) * 10} MiB/s.`,
      set: medium,
      port: "plain",
      link: { oneWayMs: 50, loss: 0 },
      tools: [curl, aria2c, python, muster],
    },
    {
      name: "lossy",
      title: `1 × ${inWords(share(128))}, 100 ms round trip, 0.1 % loss`,
      about: `50 ms each way. ${model} until the first loss; then half at each round trip that loses a segment and one segment more at each that does not, in the mean MSS / RTT × 1.22 / √p, which is ${rate} MiB/s a connection. Losses are drawn from a seed: the n-th connection of every tool has the same luck in a round. What the model leaves out: retransmissions take no time, and connections do not share a bottleneck.`,
      set: little,
      port: "plain",
      link: { oneWayMs: 50, loss: 0.001 },
      tools: [curl, aria2c, python, muster],
    },
    {
      name: "https",
      title: `1 × ${inWords(share(4))} over https`,
      about: "TLS 1.3 with a certificate of the bench's own authority; muster verifies the digest as always.",
      set: medium,
      port: "tls",
      tools: [curl, aria2c, python, muster],
    },
    {
      name: "unverified",
      title: `1 × ${inWords(mib)}, hashing off`,
      about:
        "The transfer engine of muster alone, told to verify nothing, which only this bench can do: what the network and the disk cost.",
      set: one,
      port: "plain",
      tools: [curl, musterUnverified],
    },
    {
      name: "warm",
      title: `Warm: ${warm.files.length} files that are all there`,
      about: "Each tool has fetched them before, unmeasured. From exec to exit.",
      set: warm,
      port: "plain",
      warm: true,
      tools: [python, muster, nodeNothing],
    },
  ];
}

function inWords(mib: number): string {
  return mib % 1024 === 0 ? `${mib / 1024} GiB` : `${mib} MiB`;
}

function dataSet(name: string, count: number, size: number): DataSet {
  const digits = (number: number) => String(number).padStart(5, "0");
  const path = (index: number) => `model-${digits(index + 1)}-of-${digits(count)}.safetensors`;
  return { name, files: Array.from({ length: count }, (_, index) => ({ path: path(index), size })) };
}
