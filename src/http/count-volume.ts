import { Counter, Histogram, type Registry } from "prom-client";
import type { StatusBoard } from "../status.ts";

const WAIT_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

/** What happens to what is stored, as this worker does or sees it. */
export function countVolume(board: StatusBoard, registry: Registry): void {
  const registers = [registry];
  const evictions = new Counter({
    name: "muster_evictions_total",
    help: "Models that went from the volume while this worker watched, whoever removed them.",
    registers,
  });
  const verified = new Counter({
    name: "muster_verified_bytes_total",
    help: "Bytes that this worker has read to check what is stored.",
    registers,
  });
  const failures = new Counter({
    name: "muster_verify_failures_total",
    help: "Files that this worker found not to be as recorded.",
    labelNames: ["source"],
    registers,
  });
  const waits = new Histogram({
    name: "muster_lease_wait_seconds",
    help: "Time for which another process was waited for that was fetching the same model.",
    buckets: WAIT_SECONDS,
    registers,
  });
  board.onChange((event) => {
    if (event.kind !== "volume") return;
    const { event: what } = event;
    if (what.type === "eviction") evictions.inc();
    else if (what.type === "verified") verified.inc(what.bytes);
    else if (what.type === "wrong-file") failures.inc({ source: what.source });
    else if (what.type === "lease-wait") waits.observe(what.seconds);
  });
}
