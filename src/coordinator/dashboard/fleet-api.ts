import * as z from "zod";
import type { Answer, Call } from "../gateway/answer.ts";
import { refusal } from "../gateway/refusal.ts";
import { JOB_STATES } from "../jobs/job-record.ts";
import { summarizeJob } from "./summaries.ts";

/** `GET /v1/fleet/events`: the fleet's feed as server-sent events. */
export async function watchFleet({ request, response, gateway: { feed } }: Call): Promise<null> {
  request.resume();
  response.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    // Proxies that collect answers would hold it back.
    "x-accel-buffering": "no",
  });
  response.flushHeaders();
  await feed.watch({
    write: (text) => void response.write(text),
    isFull: () => response.writableNeedDrain,
    onRoom: (then) => void response.on("drain", then),
    onEnd: (then) => void response.once("close", then),
  });
  return null;
}

export const fleetJobsQuery = z.object({
  state: z.enum(JOB_STATES).optional(),
  after: z.string().optional().meta({ description: "Id of the last job of the page before" }),
  worker: z.string().optional().meta({ description: "Only those that this worker has now; nothing else counts then" }),
  endedAt: z.string().optional().meta({ description: "Only those that ended at this worker" }),
  id: z.string().optional().meta({ description: "Only this one; nothing else counts then" }),
  limit: z.coerce.number().int().min(1).max(200).default(50),
});

/** `GET /v1/fleet/jobs`: jobs of all, newest first, without what was asked and answered. */
export async function listFleetJobs({ url, gateway: { jobs } }: Call): Promise<Answer> {
  const query = fleetJobsQuery.safeParse(Object.fromEntries(url.searchParams));
  if (!query.success) {
    const [issue] = query.error.issues;
    throw refusal("INVALID_INPUT", `${issue?.path.join(".")}: ${issue?.message}`, "Correct the query.");
  }
  const { worker, id, limit, ...filter } = query.data;
  const atWorker = worker === undefined ? null : jobs.atWorker(worker).map(({ jobId }) => jobId);
  const ids = id === undefined ? atWorker?.slice(0, limit) : [id];
  const found = ids ? await Promise.all(ids.map((each) => jobs.get(each))) : await jobs.list({ ...filter, limit });
  return { status: 200, body: { object: "list", data: found.flatMap((job) => (job ? [summarizeJob(job)] : [])) } };
}
