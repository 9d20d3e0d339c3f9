import { confirm } from "./confirm.js";
import { byId, h } from "./dom.js";
import { STATUS_NAMES, statusOf } from "./fleet.js";
import { stateLabel } from "./parts.js";
import { call, callJson, errorText } from "./session.js";
import { workerParts } from "./worker-detail.js";

/**
 * One worker in the sheet at the side: what it says of itself, the jobs that it has and had, and what it can be told.
 * @import { Frame } from "./detail.js"
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
/** Jobs that ended here: as many at first, and at most. */
const PAST = { first: 10, most: 200 };

/**
 * @typedef {object} Shown
 * @property {string} id
 * @property {WorkerSummary | undefined} summary
 * @property {string} jobs Of the fleet's newest, those of this worker; tells whether they changed
 * @property {WorkerView | null} worker
 * @property {JobSummary[]} now
 * @property {JobSummary[]} past
 * @property {number} limit
 * @property {boolean} isPastOld
 */

/** @param {{ fleet: Fleet, frame: Frame, onJob: (job: JobSummary) => void }} options */
export function workerSheet({ fleet, frame, onJob }) {
  /** @type {Shown | null} */
  let shown = null;
  let isAsking = false;
  let askedAt = 0;

  const ask = async () => {
    if (!shown || isAsking) return;
    const asked = shown;
    const path = encodeURIComponent(asked.id);
    const isPastOld = asked.isPastOld;
    isAsking = true;
    askedAt = performance.now();
    asked.isPastOld = false;
    try {
      const [worker, now, past] = await Promise.all([
        callJson(`/v1/workers/${path}`),
        callJson(`/v1/fleet/jobs?worker=${path}`),
        isPastOld ? callJson(`/v1/fleet/jobs?endedAt=${path}&limit=${asked.limit}`) : null,
      ]);
      Object.assign(asked, { worker, now: now.data, ...(past && { past: past.data }) });
      if (shown === asked) render(asked);
    } catch (error) {
      if (shown === asked) frame.fail(error);
    } finally {
      isAsking = false;
      if (shown && (shown !== asked || shown.isPastOld)) void ask();
    }
  };

  /** @param {Shown} shown */
  const render = ({ worker, now, past, limit }) => {
    if (!worker) return;
    const status = statusOf(worker);
    frame.sub(stateLabel(status, STATUS_NAMES[status]), h("span", {}, `${worker.workerType} · muster ${worker.agent}`));
    for (const button of frame.buttons()) button.disabled = !worker.connected;
    // Somebody is copying from it.
    if (isSelected(frame.body)) return;
    const focused = document.activeElement?.getAttribute("data-focus");
    const hasMore = past.length === limit && limit < PAST.most;
    const context = { now: fleet.now(), onJob, onMore: hasMore ? more : null };
    frame.body.replaceChildren(...workerParts({ worker, jobs: now, past }, context));
    const buttons = /** @type {HTMLElement[]} */ ([...frame.body.querySelectorAll("[data-focus]")]);
    if (focused) (buttons.find((button) => button.dataset.focus === focused) ?? byId("detail-close")).focus();
  };

  const more = () => {
    if (!shown) return;
    shown.limit = Math.min(PAST.most, shown.limit * 4);
    shown.isPastOld = true;
    void ask();
  };

  /** @param {{ id: string, command: string, name: string, text: string }} order */
  const order = async ({ id, command, name, text }) => {
    if (!(await confirm({ title: `${name}: ${id}?`, text, yes: name }))) return;
    try {
      await call(`/v1/workers/${encodeURIComponent(id)}/${command}`, { method: "POST" });
      frame.say(`${name}: the worker was told.`);
    } catch (error) {
      frame.say(errorText(error));
    }
  };

  return {
    /** @param {string} id */
    begin(id) {
      const summary = fleet.workers.get(id);
      shown = { id, summary, jobs: "", worker: null, now: [], past: [], limit: PAST.first, isPastOld: true };
      frame.actions(
        ...COMMANDS.map(({ command, name, text }) =>
          h("button", { type: "button", onclick: () => order({ id, command, name, text }) }, name),
        ),
      );
      void ask();
    },
    end() {
      shown = null;
    },
    refresh() {
      if (!shown) return;
      const { id } = shown;
      const summary = fleet.workers.get(id);
      const jobs = JSON.stringify([...fleet.jobs.values()].filter(({ workerId }) => workerId === id));
      const isOld = performance.now() - askedAt > OLD_MS;
      if (summary === shown.summary && jobs === shown.jobs && !isOld) return;
      Object.assign(shown, { summary, jobs, isPastOld: shown.isPastOld || jobs !== shown.jobs });
      void ask();
    },
  };
}

/** @param {HTMLElement} element */
function isSelected(element) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && element.contains(selection.anchorNode);
}
