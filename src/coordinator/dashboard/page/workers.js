import { byId, h, keyedList, setAttribute, setText } from "./dom.js";
import { STATUS_NAMES, STATUSES, statusOf } from "./fleet.js";
import { count } from "./format.js";
import { shareOf } from "./parts.js";
import { groupRow, workerRow } from "./worker-rows.js";

/**
 * The table of workers: searched, filtered, grouped by type, a page at a time.
 * @import { Fleet } from "./fleet.js"
 * @import { GroupRow, WorkerRow } from "./worker-rows.js"
 * @import { WorkerSummary } from "../summaries.ts"
 */

/** Rows in the page at once, however many workers there are. */
const PAGE = 100;

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
    const found = ordered(matching(fleet, search.value, statusFilter.value), order.value);
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
  return fleet.sorted().filter((worker) => {
    const status = statusOf(worker);
    if (filter === "trouble" ? !isTrouble(worker) : filter !== "" && status !== filter) return false;
    if (words.length === 0) return true;
    const text = [
      worker.id,
      worker.type,
      STATUS_NAMES[status],
      ...worker.cards,
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

/**
 * Those of the same rank stay in the order of their names.
 * @param {WorkerSummary[]} workers By name.
 * @param {string} order
 */
function ordered(workers, order) {
  if (order === "id") return workers;
  const rank = (/** @type {WorkerSummary} */ worker) => {
    if (order === "memory") return -Math.max(0, ...worker.gpus.map((gpu) => shareOf(gpu) ?? 0));
    return isTrouble(worker) ? -1 - STATUSES.indexOf(statusOf(worker)) : 0;
  };
  const ranks = new Map(workers.map((worker) => [worker, rank(worker)]));
  return workers.sort((a, b) => (ranks.get(a) ?? 0) - (ranks.get(b) ?? 0));
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
