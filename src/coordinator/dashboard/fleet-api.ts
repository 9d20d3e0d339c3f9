import type { IncomingMessage, ServerResponse } from "node:http";
import * as z from "zod";
import { JOB_STATES } from "../jobs/job-record.ts";
import type { Jobs } from "../jobs/jobs.ts";
import type { FleetFeed } from "./fleet-feed.ts";
import { summarizeJob } from "./summaries.ts";
import type { Sink } from "./watcher.ts";

/** `GET /v1/fleet/events`: {@link FleetFeed} as server-sent events. */
export function watchFleet(request: IncomingMessage, response: ServerResponse, feed: FleetFeed): Promise<void> {
  request.resume();
  response.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    // Proxies that collect answers would hold it back.
    "x-accel-buffering": "no",
  });
  response.flushHeaders();
  const sink: Sink = {
    write: (text) => void response.write(text),
    isFull: () => response.writableNeedDrain,
    onRoom: (then) => void response.on("drain", then),
    onEnd: (then) => void response.once("close", then),
  };
  return feed.watch(sink);
}

export const fleetJobsQuery = z.object({
  state: z.enum(JOB_STATES).optional(),
  /** Those that came before the job of this id. */
  after: z.string().optional(),
  /** Those that this worker has now. */
  worker: z.string().optional(),
  limit: z.coerce.number().int().min(1).max(200).default(50),
});

/** `GET /v1/fleet/jobs`: jobs of all, newest first, without what was asked and answered. */
export async function listFleetJobs(
  query: z.output<typeof fleetJobsQuery>,
  jobs: Pick<Jobs, "list" | "atWorker" | "get">,
) {
  const { worker, state, after, limit } = query;
  const found =
    worker === undefined
      ? await jobs.list({ state, after, limit })
      : await Promise.all(
          jobs
            .atWorker(worker)
            .slice(0, limit)
            .map(({ jobId }) => jobs.get(jobId)),
        );
  return { object: "list", data: found.flatMap((job) => (job ? [summarizeJob(job)] : [])) };
}
