import { h, setText, svg } from "./dom.js";
import { totalsOf } from "./fleet.js";
import { count, memoryOf, plural, round } from "./format.js";
import { bar, mark } from "./parts.js";

/**
 * The four tiles at the top.
 * @import { Child } from "./dom.js"
 * @import { Fleet } from "./fleet.js"
 * @import { FleetCounts } from "../fleet-events.ts"
 * @import { ThroughputPoint } from "../throughput.ts"
 */

/** @param {Fleet} fleet */
export function renderTotals(fleet) {
  const totals = totalsOf(fleet.workers.values());
  fill("tile-workers", [
    h("h2", {}, "Workers"),
    h("p", { class: "big" }, count(totals.ready), h("small", {}, ` of ${count(totals.workers)} ready`)),
    h(
      "ul",
      { class: "split" },
      part("ready", totals.ready, "ready"),
      part("syncing", totals.unready, "not ready"),
      part("draining", totals.draining, "draining"),
      part("lost", totals.lost, "lost"),
    ),
  ]);
  const share = totals.totalMiB > 0 ? totals.usedMiB / totals.totalMiB : null;
  fill("tile-gpus", [
    h("h2", {}, "GPU memory"),
    share === null
      ? h("p", { class: "big" }, totals.gpus > 0 ? plural(totals.gpus, "GPU") : "No GPU")
      : h(
          "p",
          { class: "big" },
          `${round(100 * share, true)} %`,
          h("small", {}, ` used, on ${plural(totals.gpus, "GPU")}`),
        ),
    bar(share),
    h("p", { class: "quiet" }, share === null ? "No memory to show" : memoryOf(totals.usedMiB, totals.totalMiB)),
  ]);
  const minute = lastMinute(fleet);
  fill("tile-jobs", [
    h("h2", {}, "Jobs"),
    h(
      "p",
      { class: "big" },
      count(fleet.counts.assigned),
      h("small", {}, ` running, ${count(fleet.counts.queued)} queued`),
    ),
    bar(totals.slots > 0 ? totals.busy / totals.slots : null),
    byKind(fleet.counts),
    h(
      "p",
      { class: "quiet" },
      `${count(totals.busy)} of ${plural(totals.slots, "slot")} · last minute ${count(minute.done)} done, ${count(minute.failed)} failed`,
    ),
  ]);
  renderThroughput(fleet);
}

/**
 * What waits, where there are several kinds of it.
 * @param {FleetCounts} counts
 */
function byKind({ queuedByKind }) {
  const kinds = Object.entries(queuedByKind ?? {}).filter(([, n]) => n > 0);
  return (
    kinds.length > 0 &&
    h("p", { class: "quiet" }, `Queued: ${kinds.map(([kind, n]) => `${count(n)} ${kind}`).join(", ")}`)
  );
}

/**
 * Ended in the last twelve steps of 5 s.
 * @param {Fleet} fleet
 */
function lastMinute({ throughput, stepMs }) {
  const points = throughput.slice(-Math.round(60_000 / stepMs));
  return { done: sum(points, 0), failed: sum(points, 1) };
}

const WIDTH = 240;
const HEIGHT = 48;

/** @param {Fleet} fleet */
function renderThroughput({ throughput, stepMs }) {
  const perSecond = (/** @type {number} */ n) => (1000 * n) / stepMs;
  // The last step is not over yet.
  const points = throughput.slice(0, -1);
  const most = Math.max(...points.map((point) => point[0] + point[1]), 1);
  const current = perSecond(sum(points.slice(-3), 0) / 3);
  const failed = sum(points, 1);
  const minutes = Math.round((points.length * stepMs) / 60_000);
  const label = `Jobs done per second over the last ${minutes} minutes: now ${rate(current)}, at most ${rate(perSecond(most))}; ${plural(failed, "job")} failed.`;
  /** @param {0 | 1} place */
  const line = (place) =>
    points
      .map((point, index) => {
        const x = (index / Math.max(1, points.length - 1)) * WIDTH;
        return `${x.toFixed(1)},${(HEIGHT - 1 - (point[place] / most) * (HEIGHT - 4)).toFixed(1)}`;
      })
      .join(" ");
  const done = line(0);
  const chart = svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      class: "spark",
      role: "img",
      "aria-label": label,
    },
    svg("polygon", { points: `0,${HEIGHT} ${done} ${WIDTH},${HEIGHT}`, class: "area" }),
    svg("polyline", { points: done, class: "line" }),
    failed > 0 && svg("polyline", { points: line(1), class: "line failed" }),
  );
  fill("tile-throughput", [
    h("h2", {}, "Throughput"),
    h("p", { class: "big" }, rate(current), h("small", {}, " jobs/s")),
    chart,
    h(
      "p",
      { class: "quiet ends" },
      h("span", {}, `${minutes} min ago`),
      h("span", {}, `most ${rate(perSecond(most))}/s`),
      h("span", {}, "now"),
    ),
  ]);
}

/** @param {number} value */
function rate(value) {
  return value >= 10 ? round(value, true) : (Math.round(value * 100) / 100).toString();
}

/**
 * @param {readonly ThroughputPoint[]} points
 * @param {0 | 1 | 2} place
 */
function sum(points, place) {
  return points.reduce((all, point) => all + point[place], 0);
}

/**
 * @param {string} state
 * @param {number} n
 * @param {string} name
 */
function part(state, n, name) {
  return h("li", { class: n === 0 ? "none" : "" }, mark(state), `${count(n)} ${name}`);
}

/**
 * @param {string} id
 * @param {Child[]} children
 */
function fill(id, children) {
  const next = h("div", {}, ...children);
  const tile = /** @type {HTMLElement} */ (document.getElementById(id));
  if (tile.innerHTML !== next.innerHTML) tile.replaceChildren(...next.childNodes);
}

/**
 * @param {Fleet} fleet
 * @param {HTMLElement} element
 */
export function renderVersion({ version }, element) {
  setText(element, version);
}
