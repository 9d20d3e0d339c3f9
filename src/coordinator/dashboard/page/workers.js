import { byId, h, keyedList, setAttribute, setText } from "./dom.js";
import { STATUS_NAMES, STATUSES, statusOf, totalsOf, usedSlots } from "./fleet.js";
import { count, memoryOf, plural, progress } from "./format.js";
import { bar, gpuBars, shareOf, stateLabel } from "./parts.js";

/**
 * The table of workers: searched, filtered, grouped by type, a page at a time.
 * @import { Fleet } from "./fleet.js"
 * @import { WorkerSummary } from "../summaries.ts"
 */

/** Rows in the page at once, however many workers there are. */
const PAGE = 100;

/**
 * @typedef {{ kind: "group", type: string, workers: WorkerSummary[], open: boolean }} GroupRow
 * @typedef {{ kind: "worker", worker: WorkerSummary }} WorkerRow
 */

/** @param {{ fleet: Fleet, onOpen: (id: string) => void }} options */
export function workersPanel({ fleet, onOpen }) {
  const search = /** @type {HTMLInputElement} */ (byId("search"));
  const statusFilter = /** @type {HTMLSelectElement} */ (byId("status-filter"));
  const order = /** @type {HTMLSelectElement} */ (byId("order"));
  const rows = byId("worker-rows");
  // Narrow screens lay the rows out anew, and some browsers then take them for no table.
  byId("worker-table").setAttribute("role", "table");
  rows.setAttribute("role", "rowgroup");
  /** Types whose workers are folded away. @type {Set<string>} */
  const folded = new Set();
  let page = 0;

  statusFilter.append(
    h("option", { value: "" }, "All states"),
    h("option", { value: "trouble" }, "Not ready"),
    ...STATUSES.map((status) => h("option", { value: status }, STATUS_NAMES[status])),
  );

  const renderGroups = keyedList(rows, {
    key: (/** @type {GroupRow | WorkerRow} */ row) =>
      row.kind === "group" ? `group ${row.type}` : `worker ${row.worker.id}`,
    create: (row) =>
      row.kind === "group"
        ? groupRow(row, (type) => {
            if (!folded.delete(type)) folded.add(type);
            render();
          })
        : workerRow(row, onOpen),
  });
  /** The same object for the same worker, so that only rows of changed workers are touched. @type {WeakMap<WorkerSummary, WorkerRow>} */
  const rowOf = new WeakMap();
  const wrap = (/** @type {WorkerSummary} */ worker) => {
    const known = rowOf.get(worker) ?? { kind: /** @type {const} */ ("worker"), worker };
    rowOf.set(worker, known);
    return known;
  };

  function render() {
    const found = sorted(matching(fleet, search.value, statusFilter.value), order.value);
    const types = [...Map.groupBy(found, ({ type }) => type)].sort(([a], [b]) => a.localeCompare(b));
    const all = types.flatMap(([type, workers]) => {
      const open = !folded.has(type);
      return [{ kind: /** @type {const} */ ("group"), type, workers, open }, ...(open ? workers.map(wrap) : [])];
    });
    const pages = Math.max(1, Math.ceil(all.length / PAGE));
    page = Math.min(page, pages - 1);
    const shown = all.slice(page * PAGE, (page + 1) * PAGE);
    const first = shown[0];
    // A page that begins within a type still says which.
    const group =
      first?.kind === "worker" ? all.find((row) => row.kind === "group" && row.type === first.worker.type) : null;
    renderGroups(group ? [group, ...shown] : shown);
    setText(
      byId("workers-count"),
      found.length === fleet.workers.size
        ? count(found.length)
        : `${count(found.length)} of ${count(fleet.workers.size)}`,
    );
    byId("pager").hidden = pages < 2;
    setText(byId("page-text"), `Page ${page + 1} of ${pages}`);
    setAttribute(byId("page-before"), "disabled", page === 0);
    setAttribute(byId("page-after"), "disabled", page === pages - 1);
    byId("worker-table").hidden = found.length === 0;
    renderEmpty(fleet, found.length === 0);
  }

  /** @param {number} step */
  const turn = (step) => {
    page += step;
    render();
    byId("workers").scrollIntoView({ block: "start" });
  };
  const again = () => {
    page = 0;
    render();
  };
  for (const input of [search, statusFilter, order]) input.addEventListener("input", again);
  byId("page-before").addEventListener("click", () => turn(-1));
  byId("page-after").addEventListener("click", () => turn(1));
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && search.value !== "") {
      event.preventDefault();
      search.value = "";
      again();
    } else if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      openers(rows)[0]?.focus();
    }
  });
  rows.addEventListener("keydown", (event) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    const all = openers(rows);
    const place = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    if (step === 0 || place < 0) return;
    event.preventDefault();
    if (place + step < 0) search.focus();
    else all[place + step]?.focus();
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target instanceof HTMLElement && event.target.closest("input, select, textarea, dialog");
    if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey || byId("fleet").hidden) return;
    event.preventDefault();
    search.focus();
  });
  return { render };
}

/** @param {HTMLElement} rows */
function openers(rows) {
  return /** @type {HTMLElement[]} */ ([...rows.querySelectorAll("button.open, button.fold")]);
}

/**
 * @param {Fleet} fleet
 * @param {string} query
 * @param {string} filter
 */
function matching(fleet, query, filter) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return [...fleet.workers.values()].filter((worker) => {
    const status = statusOf(worker);
    if (filter === "trouble" ? !isTrouble(worker) : filter !== "" && status !== filter) return false;
    if (words.length === 0) return true;
    const text = [
      worker.id,
      worker.type,
      STATUS_NAMES[status],
      ...worker.gpus.map(({ name }) => name),
      ...worker.models.map(({ model }) => model),
    ]
      .join("\n")
      .toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

/** @param {WorkerSummary} worker */
function isTrouble(worker) {
  return (
    statusOf(worker) !== "ready" ||
    worker.gpus.some(({ lost }) => lost) ||
    worker.models.some(({ state }) => state === "failed")
  );
}

const byName = new Intl.Collator("en", { numeric: true }).compare;

/**
 * @param {WorkerSummary[]} workers
 * @param {string} order
 */
function sorted(workers, order) {
  const rank = new Map(
    workers.map((worker) => {
      if (order === "trouble") return [worker.id, isTrouble(worker) ? -1 - STATUSES.indexOf(statusOf(worker)) : 0];
      if (order === "memory") return [worker.id, -Math.max(0, ...worker.gpus.map((gpu) => shareOf(gpu) ?? 0))];
      return [worker.id, 0];
    }),
  );
  return workers.sort((a, b) => (rank.get(a.id) ?? 0) - (rank.get(b.id) ?? 0) || byName(a.id, b.id));
}

/**
 * @param {GroupRow} row
 * @param {(type: string) => void} onFold
 */
function groupRow({ type }, onFold) {
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
function workerRow({ worker: { id } }, onOpen) {
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
function gpuCell({ gpus }) {
  if (gpus.length === 0) return [h("span", { class: "quiet" }, "CPU only")];
  const [used, total] = [sumOf(gpus.map(({ usedMiB }) => usedMiB)), sumOf(gpus.map(({ totalMiB }) => totalMiB))];
  const text = total > 0 ? memoryOf(used, total) : (gpus[0]?.name ?? "");
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

/**
 * @param {Fleet} fleet
 * @param {boolean} isEmpty
 */
function renderEmpty(fleet, isEmpty) {
  const empty = byId("workers-empty");
  empty.hidden = !isEmpty;
  if (!isEmpty) return;
  if (fleet.workers.size > 0) {
    empty.replaceChildren(h("p", {}, "No worker is like this. Esc in the search box clears it."));
  } else if (!fleet.isComplete) empty.replaceChildren(h("p", {}, "Waiting for the coordinator…"));
  else if (empty.querySelector("code") === null) {
    const url = location.origin.replace(/^http/, "ws");
    empty.replaceChildren(
      h("p", {}, "No worker has come yet. On a machine with a GPU, or without one:"),
      h("pre", { tabindex: 0 }, h("code", {}, `COORDINATOR_URL=${url} WORKER_TYPE=gpu-worker muster start`)),
      h(
        "p",
        { class: "quiet" },
        "Where the coordinator asks workers for a token, give it as COORDINATOR_TOKEN_FILE. ",
        h("code", {}, "muster doctor"),
        " says what is in the way.",
      ),
    );
  }
}
