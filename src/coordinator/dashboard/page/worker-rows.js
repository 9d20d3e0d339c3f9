import { h, setAttribute, setText } from "./dom.js";
import { STATUS_NAMES, statusOf, totalsOf, usedSlots } from "./fleet.js";
import { count, memoryOf, plural, progress } from "./format.js";
import { bar, gpuBars, stateLabel } from "./parts.js";

/**
 * Rows of the table of workers: one a worker, and one over those of a type.
 * @import { WorkerSummary } from "../summaries.ts"
 */

/**
 * @typedef {{ kind: "group", type: string, workers: WorkerSummary[], open: boolean }} GroupRow
 * @typedef {{ kind: "worker", worker: WorkerSummary }} WorkerRow
 */

/**
 * @param {GroupRow} row
 * @param {(type: string) => void} onFold
 */
export function groupRow({ type }, onFold) {
  const numbers = h("span", { class: "quiet" });
  const fold = h(
    "button",
    { type: "button", class: "fold", "aria-expanded": "true", onclick: () => onFold(type) },
    h("span", {}, type),
  );
  const head = h("th", { colspan: 5, scope: "colgroup", role: "rowheader" }, fold, numbers);
  return {
    element: h("tr", { class: "group", role: "row" }, head),
    /** @param {GroupRow | WorkerRow} row */
    update(row) {
      if (row.kind !== "group") return;
      const totals = totalsOf(row.workers);
      const gpus =
        totals.gpus > 0 ? ` · ${plural(totals.gpus, "GPU")}, ${memoryOf(totals.usedMiB, totals.totalMiB)}` : "";
      setText(numbers, `${count(totals.ready)} of ${count(totals.workers)} ready${gpus}`);
      setAttribute(fold, "aria-expanded", row.open ? "true" : "false");
    },
  };
}

/**
 * @param {WorkerRow} row
 * @param {(id: string) => void} onOpen
 */
export function workerRow({ worker: { id } }, onOpen) {
  const open = h("button", { type: "button", class: "open", onclick: () => onOpen(id) }, id);
  const cells = {
    state: h("td", { role: "cell", class: "cell-state" }),
    gpus: h("td", { role: "cell", class: "cell-gpus" }),
    slots: h("td", { role: "cell", class: "number cell-slots" }),
    models: h("td", { role: "cell", class: "cell-models" }),
  };
  const element = h(
    "tr",
    { role: "row", class: "worker" },
    h("th", { scope: "row", role: "rowheader" }, open),
    ...Object.values(cells),
  );
  element.addEventListener("click", (event) => {
    const isControl = event.target instanceof Element && event.target.closest("button");
    if (!isControl && getSelection()?.isCollapsed !== false) onOpen(id);
  });
  return {
    element,
    /** @param {GroupRow | WorkerRow} row */
    update(row) {
      if (row.kind !== "worker") return;
      const { worker } = row;
      const status = statusOf(worker);
      element.classList.toggle("is-lost", status === "lost");
      cells.state.replaceChildren(stateLabel(status, STATUS_NAMES[status]));
      cells.gpus.replaceChildren(...gpuCell(worker));
      cells.slots.replaceChildren(...slotsCell(worker));
      cells.models.replaceChildren(...modelsCell(worker));
    },
  };
}

/** @param {WorkerSummary} worker */
function gpuCell({ gpus, cards }) {
  if (gpus.length === 0) return [h("span", { class: "quiet" }, "CPU only")];
  const [used, total] = [sumOf(gpus.map(({ usedMiB }) => usedMiB)), sumOf(gpus.map(({ totalMiB }) => totalMiB))];
  const text = total > 0 ? memoryOf(used, total) : cards.join(", ");
  return [
    h("span", { class: "gpu-line" }, gpuBars(gpus, text), h("span", { class: "nowrap", "aria-hidden": "true" }, text)),
  ];
}

/** @param {WorkerSummary} worker */
function slotsCell(worker) {
  const isKnown = worker.connected && worker.ready;
  return [
    h("span", {}, isKnown ? usedSlots(worker) : "–"),
    h("span", { class: "quiet" }, `/${worker.slots}`),
    h("span", { class: "only-phone" }, " slots"),
  ];
}

/** @param {WorkerSummary} worker */
function modelsCell({ models, connected }) {
  const fetching = models.filter(({ state }) => state === "fetching");
  const failed = models.filter(({ state }) => state === "failed");
  const ready = models.filter(({ state }) => state === "ready").length;
  const others = models.length - fetching.length - failed.length - ready;
  const parts = [
    ready > 0 && stateLabel("ready", `${ready} ready`),
    others > 0 && stateLabel("loading", `${others} on the way`),
    failed.length > 0 &&
      stateLabel("failed", failed.length === 1 ? `${failed[0]?.model} failed` : `${failed.length} failed`),
  ].filter((part) => part !== false);
  if (connected) for (const model of fetching.slice(0, 2)) parts.push(download(model));
  if (fetching.length > 2 || (fetching.length > 0 && !connected))
    parts.push(stateLabel("fetching", `${fetching.length} fetching`));
  return parts.length > 0 ? parts : [h("span", { class: "quiet" }, "none")];
}

/** @param {{ model: string, bytesDone: number, bytesTotal: number, rate: number }} model */
function download(model) {
  const share = model.bytesTotal > 0 ? model.bytesDone / model.bytesTotal : null;
  return h(
    "span",
    { class: "download" },
    h("span", { class: "name" }, model.model),
    bar(share, "fetch"),
    h("span", { class: "quiet nowrap" }, progress(model)),
  );
}

/** @param {(number | null)[]} values */
function sumOf(values) {
  return values.reduce((/** @type {number} */ all, value) => all + (value ?? 0), 0);
}
