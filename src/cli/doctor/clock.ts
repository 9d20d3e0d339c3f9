import type { Check } from "./check.ts";

/** S3 and signed links are refused at some minutes; leases and logs are hard to read before that. */
const MOST_MS = 30_000;

/** This machine's clock beside those of all who answered. */
export function checkClock(checks: readonly Check[]): Check[] {
  const told = checks.flatMap(({ name, clockAheadMs }) => (clockAheadMs === undefined ? [] : [{ name, clockAheadMs }]));
  if (told.length === 0) return [];
  const off = told.filter(({ clockAheadMs }) => Math.abs(clockAheadMs) > MOST_MS);
  const most = Math.max(...told.map(({ clockAheadMs }) => Math.abs(clockAheadMs)));
  if (off.length === 0) {
    const found = `within ${Math.ceil(most / 1000) + 1} s of ${told.map(({ name }) => name).join(", ")}`;
    return [{ name: "clock", result: "ok", found }];
  }
  const says = off.map(({ name, clockAheadMs }) => {
    const seconds = Math.round(Math.abs(clockAheadMs) / 1000);
    return `${name} is ${seconds} s ${clockAheadMs > 0 ? "ahead of" : "behind"} this machine`;
  });
  // Where all others agree it is this one that is wrong.
  const whose =
    off.length === told.length && told.length > 1 ? "this machine's clock" : "the clock of whichever is wrong";
  const hint = `Set ${whose}: \`timedatectl set-ntp true\` on the host. Signed links and S3 are refused with a wrong one.`;
  return [{ name: "clock", result: "warn", found: says.join("; "), hint }];
}
