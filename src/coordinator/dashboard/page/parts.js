import { h, svg } from "./dom.js";

/**
 * Small pieces that several panels are made of. States have a shape and a word as well as a colour.
 * @import { GpuSummary } from "../summaries.ts"
 */

const MARKS = {
  full: [["circle", { cx: 8, cy: 8, r: 5 }]],
  half: [
    ["circle", { cx: 8, cy: 8, r: 4.5, class: "stroke" }],
    ["path", { d: "M8 3.5a4.5 4.5 0 0 1 0 9z" }],
  ],
  ring: [["circle", { cx: 8, cy: 8, r: 4.5, class: "stroke" }]],
  pause: [["path", { d: "M4 3h3v10H4zM9 3h3v10H9z" }]],
  down: [["path", { d: "M8 13L2.5 6h3.7V2.5h3.6V6h3.7z" }]],
  cross: [["path", { d: "M4 4l8 8M12 4l-8 8", class: "stroke" }]],
  warn: [["path", { d: "M8 2l6.5 12h-13z" }]],
  check: [["path", { d: "M3 8.5l3.5 3.5L13 4.5", class: "stroke" }]],
  play: [["path", { d: "M4 3l9 5-9 5z" }]],
};

/** @type {Record<string, { mark: keyof typeof MARKS, tone: "good" | "busy" | "warn" | "bad" | "off" }>} */
const LOOKS = {
  ready: { mark: "full", tone: "good" },
  syncing: { mark: "half", tone: "busy" },
  starting: { mark: "ring", tone: "busy" },
  paused: { mark: "pause", tone: "warn" },
  unready: { mark: "warn", tone: "warn" },
  stopped: { mark: "ring", tone: "off" },
  draining: { mark: "down", tone: "warn" },
  lost: { mark: "cross", tone: "bad" },
  requested: { mark: "ring", tone: "off" },
  fetching: { mark: "half", tone: "busy" },
  stored: { mark: "ring", tone: "good" },
  loading: { mark: "half", tone: "busy" },
  failed: { mark: "warn", tone: "bad" },
  queued: { mark: "ring", tone: "off" },
  assigned: { mark: "play", tone: "busy" },
  done: { mark: "check", tone: "good" },
  cancelled: { mark: "cross", tone: "off" },
  bad: { mark: "warn", tone: "bad" },
  warn: { mark: "warn", tone: "warn" },
};

/**
 * The shape of a state, without its word.
 * @param {string} state
 */
export function mark(state) {
  const look = LOOKS[state] ?? { mark: /** @type {const} */ ("ring"), tone: "off" };
  const shapes = MARKS[look.mark].map(([tag, attributes]) =>
    svg(/** @type {string} */ (tag), /** @type {{}} */ (attributes)),
  );
  return svg("svg", { viewBox: "0 0 16 16", class: `mark ${look.tone}`, "aria-hidden": "true" }, ...shapes);
}

/**
 * @param {string} state
 * @param {string | number} text
 */
export function stateLabel(state, text) {
  const tone = LOOKS[state]?.tone ?? "off";
  return h("span", { class: `state ${tone}` }, mark(state), h("span", {}, text));
}

/**
 * A bar from 0 to 1; null where it is not known.
 * @param {number | null} share
 * @param {string} [kind]
 */
export function bar(share, kind = "") {
  const fill = h("span", { class: "fill" });
  fill.style.setProperty("--share", String(share === null ? 0 : Math.min(1, Math.max(0, share))));
  const full = share !== null && share > 0.95 ? " full" : "";
  return h("span", { class: `track ${kind}${share === null ? " unknown" : full}` }, fill);
}

/**
 * One bar a GPU; read out as one sentence.
 * @param {readonly GpuSummary[]} gpus
 * @param {string} text
 */
export function gpuBars(gpus, text) {
  const isMany = gpus.length > 1;
  const bars = gpus
    .slice(0, 16)
    .map((gpu) => (gpu.lost ? h("span", { class: "track lost" }) : bar(shareOf(gpu), "gpu")));
  const label = `${gpus.length} GPU${gpus.length === 1 ? "" : "s"}, ${text}`;
  return h("span", { class: isMany ? "bars many" : "bars", role: "img", "aria-label": label }, ...bars);
}

/** @param {Pick<GpuSummary, "usedMiB" | "totalMiB">} gpu */
export function shareOf({ usedMiB, totalMiB }) {
  return usedMiB === null || !totalMiB ? null : usedMiB / totalMiB;
}

/** @param {[string, Node | string | number | null][]} rows Those that are null are left out. */
export function facts(rows) {
  return h(
    "dl",
    { class: "facts" },
    ...rows.filter(([, value]) => value !== null).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}
