import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Workplace } from "../workplace.ts";
import type { Link } from "./open-link.ts";

/** A network namespace whose loopback is the link: everything in it is delayed, and nothing outside of it. */
export interface Namespace {
  /** What starts a program inside. */
  prefix: string[];
  holder: ChildProcess;
}

/**
 * Makes the namespace, or gives null where the kernel has no netem (or this process may not). The queue is set from
 * inside the new namespace, so that the machine's own loopback is never touched.
 */
export async function openNamespace(place: Workplace, link: Link): Promise<Namespace | null> {
  const loss = link.loss > 0 ? ` loss ${link.loss * 100}%` : "";
  // Segments as on a wire: else one loss would take a burst of 64 KiB with it.
  const lines = [
    "ip link set lo mtu 1500 gso_max_segs 1 up",
    `tc qdisc add dev lo root netem delay ${link.oneWayMs}ms${loss} limit 200000`,
    "echo ready",
    "exec sleep infinity",
  ];
  const stdio = ["ignore", "pipe", "ignore"] as const;
  const holder = place.start(["unshare", "--net", "sh", "-ec", lines.join("\n")], { stdio: [...stdio] });
  const ready = await Promise.race([
    once(createInterface({ input: holder.stdout! }), "line").then(() => true),
    once(holder, "exit").then(() => false),
  ]).catch(() => false);
  return ready ? { prefix: ["nsenter", "-t", String(holder.pid), "-n"], holder } : null;
}
