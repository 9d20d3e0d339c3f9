import { confirm } from "./confirm.js";
import { byId, h, setAttribute, setText } from "./dom.js";
import { STATUS_NAMES, statusOf } from "./fleet.js";
import { clock } from "./format.js";
import { JOB_STATE_NAMES, jobTime } from "./jobs.js";
import { facts, stateLabel } from "./parts.js";
import { call, callJson } from "./session.js";
import { workerParts } from "./worker-detail.js";

/**
 * The sheet at the side: one worker, or one job.
 * @import { Fleet } from "./fleet.js"
 * @import { JobSummary, WorkerSummary } from "../summaries.ts"
 * @import { WorkerView } from "../../workers/worker-view.ts"
 */

const COMMANDS = [
  { command: "pause", name: "Pause", text: "It takes no new jobs until it is resumed. Those it has go on." },
  { command: "resume", name: "Resume", text: "It takes jobs again." },
  { command: "sync", name: "Fetch models", text: "It looks for what is missing of its models and fetches it." },
  {
    command: "drain",
    name: "Drain",
    text: "It ends the jobs it has, takes no new ones, and stops. Only a restart of it brings it back.",
  },
];

/** What no event tells of, as the last beat, is asked for again after this long. */
const OLD_MS = 4_500;

/** @param {{ fleet: Fleet }} options */
export function detailSheet({ fleet }) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("detail"));
  const body = byId("detail-body");
  const message = byId("detail-message");
  /** @type {{ kind: "worker", id: string, summary: WorkerSummary | undefined, jobs: string } | { kind: "job", job: JobSummary } | null} */
  let shown = null;
  let isAsking = false;
  let askedAt = 0;

  /** @param {string} title */
  const open = (title) => {
    setText(byId("detail-title"), title);
    setText(byId("detail-sub"), "");
    setText(message, "");
    body.replaceChildren(h("p", { class: "quiet" }, "Loading…"));
    byId("detail-actions").replaceChildren();
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  };

  /** @param {string} id */
  const openWorker = (id) => {
    open(id);
    shown = { kind: "worker", id, summary: fleet.workers.get(id), jobs: "" };
    const buttons = COMMANDS.map(({ command, name, text }) =>
      h("button", { type: "button", onclick: () => order({ id, command, name, text }) }, name),
    );
    byId("detail-actions").replaceChildren(...buttons);
    void ask();
  };

  const ask = async () => {
    if (shown?.kind !== "worker" || isAsking) return;
    const { id } = shown;
    isAsking = true;
    askedAt = performance.now();
    try {
      const path = encodeURIComponent(id);
      const [worker, jobs] = await Promise.all([
        callJson(`/v1/workers/${path}`),
        callJson(`/v1/fleet/jobs?worker=${path}`),
      ]);
      if (shown?.kind === "worker" && shown.id === id) showWorker(worker, jobs.data);
    } catch (error) {
      if (shown?.kind === "worker" && shown.id === id) showGone(error);
    } finally {
      isAsking = false;
      if (shown?.kind === "worker" && shown.id !== id) void ask();
    }
  };

  /** @param {unknown} error */
  const showGone = (error) => {
    setText(byId("detail-sub"), "");
    for (const button of byId("detail-actions").children) setAttribute(button, "disabled", true);
    body.replaceChildren(h("p", { class: "error" }, error instanceof Error ? error.message : String(error)));
  };

  /**
   * @param {WorkerView} worker
   * @param {JobSummary[]} jobs
   */
  const showWorker = (worker, jobs) => {
    const status = statusOf(worker);
    byId("detail-sub").replaceChildren(
      stateLabel(status, STATUS_NAMES[status]),
      h("span", {}, `${worker.workerType} · muster ${worker.agent}`),
    );
    for (const button of byId("detail-actions").children) setAttribute(button, "disabled", !worker.connected);
    // Somebody is copying from it.
    if (isSelected(body)) return;
    const focused = document.activeElement?.getAttribute("data-job");
    body.replaceChildren(...workerParts(worker, jobs, { now: fleet.now(), onJob: openJob }));
    const buttons = /** @type {HTMLElement[]} */ ([...body.querySelectorAll("[data-job]")]);
    if (focused) (buttons.find((button) => button.dataset.job === focused) ?? byId("detail-close")).focus();
  };

  /** @param {{ id: string, command: string, name: string, text: string }} order */
  const order = async ({ id, command, name, text }) => {
    if (!(await confirm({ title: `${name}: ${id}?`, text, yes: name }))) return;
    try {
      await call(`/v1/workers/${encodeURIComponent(id)}/${command}`, { method: "POST" });
      setText(message, `${name}: the worker was told.`);
    } catch (error) {
      setText(message, error instanceof Error ? error.message : String(error));
    }
  };

  /** @param {JobSummary} job */
  const openJob = (job) => {
    open(job.model);
    shown = { kind: "job", job };
    showJob(job);
  };

  /** @param {JobSummary} job */
  const showJob = (job) => {
    const isOver = job.finishedAt !== null;
    byId("detail-sub").replaceChildren(stateLabel(job.state, JOB_STATE_NAMES[job.state]), h("span", {}, job.kind));
    const stop = h("button", { type: "button", onclick: () => cancel(job) }, "Cancel the job");
    if (isOver) byId("detail-actions").replaceChildren();
    else if (byId("detail-actions").childElementCount === 0) byId("detail-actions").append(stop);
    const worker = job.workerId;
    const isThere = worker !== null && fleet.workers.has(worker);
    body.replaceChildren(
      facts([
        ["Id", job.id],
        ["Key", job.client],
        [
          "Worker",
          isThere ? h("button", { type: "button", class: "link", onclick: () => openWorker(worker) }, worker) : worker,
        ],
        ["Attempt", job.attempt],
        ["Came", clock(job.createdAt)],
        ["Ended", job.finishedAt === null ? null : clock(job.finishedAt)],
        [isOver ? "Took" : "Until now", jobTime(job, fleet.now())],
        ["Error", job.errorCode],
      ]),
      h("p", { class: "quiet" }, "What was asked and answered is not shown here."),
    );
  };

  /** @param {JobSummary} job */
  const cancel = async (job) => {
    const text = "Whoever waits for it gets an error.";
    if (!(await confirm({ title: "Cancel this job?", text, yes: "Cancel the job" }))) return;
    try {
      await call(`/v1/jobs/${encodeURIComponent(job.id)}/cancel`, { method: "POST" });
      setText(message, "It was asked to end.");
    } catch (error) {
      setText(message, error instanceof Error ? error.message : String(error));
    }
  };

  byId("detail-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    // Beside the sheet.
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => {
    shown = null;
  });

  return {
    openWorker,
    openJob,
    close: () => dialog.close(),
    /** Something in the fleet is new. */
    refresh() {
      if (shown?.kind === "worker") {
        const summary = fleet.workers.get(shown.id);
        const at = shown.id;
        const jobs = JSON.stringify([...fleet.jobs.values()].filter(({ workerId }) => workerId === at));
        const isOld = performance.now() - askedAt > OLD_MS;
        if (summary === shown.summary && jobs === shown.jobs && !isOld) return;
        Object.assign(shown, { summary, jobs });
        void ask();
      } else if (shown?.kind === "job") {
        const job = fleet.jobs.get(shown.job.id);
        if (!job || job === shown.job) return;
        shown.job = job;
        showJob(job);
      }
    },
  };
}

/** @param {HTMLElement} element */
function isSelected(element) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && element.contains(selection.anchorNode);
}
