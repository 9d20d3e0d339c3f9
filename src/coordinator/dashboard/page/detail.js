import { byId, h, setText } from "./dom.js";
import { jobSheet } from "./job-sheet.js";
import { startRoutes } from "./route.js";
import { errorText } from "./session.js";
import { workerSheet } from "./worker-sheet.js";

/**
 * The sheet at the side: one worker, or one job. What is open stands in the address.
 * @import { Fleet } from "./fleet.js"
 * @import { Route } from "./route.js"
 * @import { JobSummary } from "../summaries.ts"
 */

/**
 * Where a sheet puts what it shows.
 * @typedef {object} Frame
 * @property {HTMLElement} body
 * @property {(...children: Node[]) => void} sub
 * @property {(...buttons: HTMLButtonElement[]) => void} actions
 * @property {() => HTMLButtonElement[]} buttons
 * @property {(text: string) => void} say
 * @property {(error: unknown) => void} fail In place of everything
 */

/** @param {{ fleet: Fleet }} options */
export function detailSheet({ fleet }) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("detail"));
  /** @type {Route | null} */
  let shown = null;
  /** What was known of the job that is to be opened. @type {JobSummary | null} */
  let known = null;

  /** @type {Frame} */
  const frame = {
    body: byId("detail-body"),
    sub: (...children) => byId("detail-sub").replaceChildren(...children),
    actions: (...buttons) => byId("detail-actions").replaceChildren(...buttons),
    buttons: () => /** @type {HTMLButtonElement[]} */ ([...byId("detail-actions").children]),
    say: (text) => setText(byId("detail-message"), text),
    fail(error) {
      frame.sub();
      for (const button of frame.buttons()) button.disabled = true;
      frame.body.replaceChildren(h("p", { class: "error" }, errorText(error)));
    },
  };
  const routes = startRoutes({ onRoute: show });
  const openWorker = (/** @type {string} */ id) => routes.goTo({ kind: "worker", id });
  const openJob = (/** @type {JobSummary} */ job) => {
    known = job;
    routes.goTo({ kind: "job", id: job.id });
  };
  const worker = workerSheet({ fleet, frame, onJob: openJob });
  const job = jobSheet({ fleet, frame, onWorker: openWorker });

  /** @param {Route | null} route */
  function show(route) {
    if (route?.kind === shown?.kind && route?.id === shown?.id) return;
    worker.end();
    job.end();
    shown = route;
    if (!route) return dialog.close();
    setText(byId("detail-title"), route.id);
    frame.sub();
    frame.actions();
    frame.say("");
    frame.body.replaceChildren(h("p", { class: "quiet" }, "Loading…"));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    if (route.kind === "worker") worker.begin(route.id);
    else job.begin(route.id, known?.id === route.id ? known : null);
  }

  byId("detail-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    // Beside the sheet.
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => {
    // Another was opened meanwhile.
    if (dialog.open) return;
    worker.end();
    job.end();
    shown = null;
    routes.leave();
  });

  return {
    openWorker,
    openJob,
    /** Shows what the address says. */
    start: () => routes.now(),
    close: () => dialog.close(),
    /** Something in the fleet is new. */
    refresh() {
      worker.refresh();
      job.refresh();
    },
  };
}
