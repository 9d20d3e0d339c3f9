import { Counter, Histogram, type Registry } from "prom-client";
import type { StatusBoard } from "../status.ts";

/** From a small file to a hundred gigabytes over a slow line. */
const FETCH_SECONDS = [1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400];

/** What this worker fetches. The rate of the bytes is the rate of the link. */
export function countFetches(board: StatusBoard, registry: Registry): void {
  const registers = [registry];
  const bytes = new Counter({
    name: "muster_fetch_bytes_total",
    help: "Bytes of models, by what they were: fetched, shared with what the volume had, or discarded after they had come.",
    labelNames: ["source", "outcome"],
    registers,
  });
  const fetches = new Counter({
    name: "muster_fetches_total",
    help: "Fetches of models that ended, by how: stored, or the code of the error.",
    labelNames: ["source", "outcome"],
    registers,
  });
  const retries = new Counter({
    name: "muster_fetch_retries_total",
    help: "Attempts at files that failed and are followed by another, by the code of the error.",
    labelNames: ["source", "code"],
    registers,
  });
  const duration = new Histogram({
    name: "muster_fetch_duration_seconds",
    help: "From when it was known what is missing of a model to its being stored.",
    labelNames: ["source"],
    buckets: FETCH_SECONDS,
    registers,
  });
  board.onChange((change) => {
    if (change.kind !== "volume" || change.event.type !== "fetch") return;
    const { source, event } = change.event;
    if (event.type === "bytes") bytes.inc({ source, outcome: event.outcome }, event.bytes);
    else if (event.type === "retry") retries.inc({ source, code: event.code });
    else {
      fetches.inc({ source, outcome: event.outcome });
      if (event.outcome === "stored" && event.seconds !== null) duration.observe({ source }, event.seconds);
    }
  });
}
