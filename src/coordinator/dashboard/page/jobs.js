import { byId, h, keyedList, setAttribute, setText } from "./dom.js";
import { duration, roughly } from "./format.js";
import { stateLabel } from "./parts.js";
import { callJson } from "./session.js";

/**
 * The newest jobs, live, and older ones on demand.
 * @import { Fleet } from "./fleet.js"
 * @import { JobSummary } from "../summaries.ts"
 */

/** @type {Record<JobSummary["state"], string>} */
export const JOB_STATE_NAMES = {
  queued: "Queued",
  assigned: "Running",
  done: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
};

/** Rows before somebody asks for older ones, and more with each time they do. */
const PAGE = 25;

/** @param {{ fleet: Fleet, onOpen: (job: JobSummary) => void, onError: (error: unknown) => void }} options */
export function jobsPanel({ fleet, onOpen, onError }) {
  const filter = /** @type {HTMLSelectElement} */ (byId("job-filter"));
  const older = byId("jobs-older");
  /** Newest first; of the filter that is chosen. @type {JobSummary[]} */
  let stored = [];
  let limit = PAGE;
  let isEnd = false;
  /** @type {JobSummary[]} */
  let shown = [];

  const renderRows = keyedList(byId("job-rows"), {
    key: (/** @type {JobSummary} */ { id }) => id,
    create: (job) => jobRow(job, { onOpen, now: () => fleet.now() }),
  });

  function render() {
    const wanted = (/** @type {JobSummary} */ { state }) => filter.value === "" || state === filter.value;
    /** @type {Map<string, JobSummary>} */
    const jobs = new Map([...fleet.jobs.values()].reverse().map((job) => [job.id, job]));
    for (const job of stored) if (!jobs.has(job.id)) jobs.set(job.id, job);
    const all = [...jobs.values()].filter(wanted);
    shown = all.slice(0, limit);
    // Of those that have not ended the time goes on without news.
    renderRows(shown.map((job) => (job.finishedAt === null ? { ...job } : job)));
    older.hidden = shown.length === 0 || (isEnd && shown.length === all.length);
    const empty = byId("jobs-empty");
    empty.hidden = shown.length > 0;
    if (shown.length === 0 && fleet.isComplete) renderEmpty(empty, filter.value !== "");
  }

  async function more() {
    const state = filter.value;
    limit += PAGE;
    const after = shown.at(-1)?.id;
    setAttribute(older, "aria-disabled", "true");
    try {
      const query = new URLSearchParams({
        limit: String(PAGE),
        ...(state && { state }),
        ...(after !== undefined && { after }),
      });
      const { data } = await callJson(`/v1/fleet/jobs?${query}`);
      if (state !== filter.value) return;
      isEnd = data.length < PAGE;
      stored = [...stored, ...data];
    } catch (error) {
      onError(error);
    } finally {
      setAttribute(older, "aria-disabled", null);
      render();
    }
  }

  older.addEventListener("click", more);
  filter.addEventListener("input", () => {
    stored = [];
    limit = 0;
    isEnd = false;
    shown = [];
    void more();
  });
  return {
    render,
    /** A stream begins: older jobs may have changed. */
    reset() {
      stored = [];
      limit = PAGE;
      isEnd = false;
    },
  };
}

/**
 * @param {JobSummary} first
 * @param {{ onOpen: (job: JobSummary) => void, now: () => number }} calls
 */
function jobRow(first, { onOpen, now }) {
  let job = first;
  const state = h("td", { class: "cell-job-state" });
  const name = h("button", { type: "button", class: "open", onclick: () => onOpen(job) }, first.model);
  const where = h("span", { class: "quiet" });
  const time = h("td", { class: "number" });
  const showTime = () => {
    const took = jobTime(job, now());
    setText(time, took);
  };
  return {
    element: h("tr", {}, state, h("th", { scope: "row" }, name, where), time),
    /** @param {JobSummary} next */
    update(next) {
      job = next;
      state.replaceChildren(stateLabel(next.state, JOB_STATE_NAMES[next.state]));
      const again = next.attempt > 1 ? ` · attempt ${next.attempt}` : "";
      setText(
        where,
        `${next.kind}${next.workerId === null ? "" : ` · ${next.workerId}`}${again}${next.errorCode === null ? "" : ` · ${next.errorCode}`}`,
      );
      setAttribute(name, "aria-label", `${next.model}, ${next.kind}, job ${next.id}`);
      showTime();
    },
  };
}

/**
 * @param {Pick<JobSummary, "createdAt" | "finishedAt" | "state">} job
 * @param {number} now
 */
export function jobTime({ createdAt, finishedAt, state }, now) {
  if (finishedAt !== null) return duration(finishedAt - createdAt);
  return `${state === "queued" ? "waits" : "for"} ${roughly(now - createdAt)}`;
}

/**
 * @param {HTMLElement} empty
 * @param {boolean} isFiltered
 */
function renderEmpty(empty, isFiltered) {
  if (isFiltered) empty.replaceChildren(h("p", {}, "No such job."));
  else if (empty.querySelector("code") === null) {
    const body = '{"kind":"chat","model":"MODEL","input":{"messages":[{"role":"user","content":"Good morning"}]}}';
    const line = `curl ${location.origin}/v1/jobs -H "Authorization: Bearer KEY" -H "Content-Type: application/json" -d '${body}'`;
    empty.replaceChildren(h("p", {}, "No job yet. One to try:"), h("pre", { tabindex: 0 }, h("code", {}, line)));
  }
}
