import { mkdirSync } from "node:fs";
import { Lanes } from "../../src/fetch/transfer/lanes.ts";

/** Fetches one file with the transfer engine and no digest: what the network and the disk alone cost. For the bench only. */

const [url = "", folder = "", size = "", hex = ""] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
// Not a setting of muster, and not to become one.
const verify = process.env.BENCH_VERIFY === "true";
const lanes = new Lanes({
  connections: 16,
  stallTimeoutMs: 30_000,
  userAgent: "muster-bench",
  verify,
  bandwidth: null,
});
try {
  const source = { url, authorization: null, signed: false, patient: true, name: "the file", page: url };
  const digest = { algorithm: "sha256", hex } as const;
  await lanes.run({ kind: "fetch", ...source, folder, size: Number(size), digest }, {});
} finally {
  await lanes.close();
}
