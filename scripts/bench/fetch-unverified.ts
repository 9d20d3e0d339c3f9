import { mkdirSync } from "node:fs";
import type { LaneOptions } from "../../src/fetch/transfer/job.ts";
import { Lanes } from "../../src/fetch/transfer/lanes.ts";

/** Fetches one file with the transfer engine and no digest: what the network and the disk alone cost. For the bench only. */

const [url = "", folder = "", size = "", hex = ""] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
// Not a setting of muster, and not to become one.
const options = { connections: 8, stallTimeoutMs: 30_000, userAgent: "muster-bench", verify: false };
const lanes = new Lanes(options as LaneOptions);
try {
  const source = { url, authorization: null, name: "the file", page: url };
  const digest = { algorithm: "sha256", hex } as const;
  await lanes.run({ kind: "fetch", ...source, folder, size: Number(size), digest }, {});
} finally {
  await lanes.close();
}
