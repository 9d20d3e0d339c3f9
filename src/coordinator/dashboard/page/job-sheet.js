import { confirm } from "./confirm.js";
import { byId, h, setText } from "./dom.js";
import { clock } from "./format.js";
import { JOB_STATE_NAMES, jobTime } from "./jobs.js";
import { facts, stateLabel } from "./parts.js";
import { ApiError, call, callJson, errorText } from "./session.js";

/**
 * One job in the sheet at the side.
 * @import { Frame } from "./detail.js"
 * @import { Fleet } from "./fleet.js"
 * @import { JobSummary } from "../summaries.ts"
 */

/** @param {{ fleet: Fleet, frame: Frame, onWorker: (id: string) => void }} options */
export function jobSheet({ fleet, frame, onWorker }) {
  /** Of the one that is open. @type {string | null} */
  let at = null;
  /** @type {JobSummary | null} */
  let shown = null;

  /** @param {JobSummary} job */
  const show = (job) => {
    shown = job;
    const isOver = job.finishedAt !== null;
    setText(byId("detail-title"), job.model);
    frame.sub(stateLabel(job.state, JOB_STATE_NAMES[job.state]), h("span", {}, job.kind));
    if (isOver) frame.actions();
    else if (frame.buttons().length === 0)
      frame.actions(h("button", { type: "button", onclick: () => cancel(job) }, "Cancel the job"));
    const worker = job.workerId;
    const isThere = worker !== null && fleet.workers.has(worker);
    const link = (/** @type {string} */ id) =>
      h("button", { type: "button", class: "link", onclick: () => onWorker(id) }, id);
    frame.body.replaceChildren(
      facts([
        ["Id", job.id],
        ["Key", job.client],
        ["Worker", isThere ? link(worker) : worker],
        ["Attempt", job.attempt],
        ["Came", clock(job.createdAt)],
        ["Ended", job.finishedAt === null ? null : clock(job.finishedAt)],
        [isOver ? "Took" : "Until now", jobTime(job, fleet.now())],
        ["Error", job.errorCode],
      ]),
      h("p", { class: "quiet" }, "What was asked and answered is not shown here."),
    );
  };

  /** @param {string} id */
  const ask = async (id) => {
    try {
      const { data } = await callJson(`/v1/fleet/jobs?${new URLSearchParams({ id })}`);
      if (at !== id) return;
      if (data.length > 0) show(data[0]);
      else frame.fail(new ApiError(404, `There is no job ${id}.`));
    } catch (error) {
      if (at === id) frame.fail(error);
    }
  };

  /** @param {JobSummary} job */
  const cancel = async (job) => {
    const text = "Whoever waits for it gets an error.";
    if (!(await confirm({ title: "Cancel this job?", text, yes: "Cancel the job" }))) return;
    try {
      await call(`/v1/jobs/${encodeURIComponent(job.id)}/cancel`, { method: "POST" });
      frame.say("It was asked to end.");
    } catch (error) {
      frame.say(errorText(error));
    }
  };

  return {
    /**
     * @param {string} id
     * @param {JobSummary | null} known
     */
    begin(id, known) {
      at = id;
      const job = fleet.jobs.get(id) ?? known;
      if (job) show(job);
      else void ask(id);
    },
    end() {
      at = null;
      shown = null;
    },
    refresh() {
      const job = at === null ? undefined : fleet.jobs.get(at);
      if (job && job !== shown) show(job);
    },
  };
}
