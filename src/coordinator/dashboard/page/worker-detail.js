import { h } from "./dom.js";
import { clock, memory, memoryOf, progress, roughly, round, size } from "./format.js";
import { JOB_STATE_NAMES, jobTime } from "./jobs.js";
import { bar, facts, shareOf, stateLabel } from "./parts.js";

/**
 * All that a worker has told of itself, in sections.
 * @import { JobSummary } from "../summaries.ts"
 * @import { WorkerView } from "../../workers/worker-view.ts"
 */

/**
 * @typedef {object} Context
 * @property {number} now
 * @property {(job: JobSummary) => void} onJob
 * @property {(() => void) | null} onMore Where more jobs than these ended there
 */

/**
 * @param {{ worker: WorkerView, jobs: JobSummary[], past: JobSummary[] }} what `past`: jobs that ended there
 * @param {Context} context
 */
export function workerParts({ worker, jobs, past }, { now, onJob, onMore }) {
  const { hardware, vitals, engines, models } = worker;
  const ram = hardware.memory.limitBytes ?? hardware.memory.totalBytes;
  const free = vitals ? Object.values(vitals.slotsFree).reduce((all, n) => all + n, 0) : 0;
  return [
    part("Jobs in flight", jobs.length === 0 ? h("p", { class: "quiet" }, "None.") : jobTable(jobs, { now, onJob })),
    part(
      "GPUs",
      hardware.gpus.length === 0 ? h("p", { class: "quiet" }, "None; it works on the CPU.") : gpuTable(worker),
    ),
    part("Models", models.length === 0 ? h("p", { class: "quiet" }, "None yet.") : modelTable(models)),
    part(
      "Jobs that ended here",
      past.length === 0 ? h("p", { class: "quiet" }, "None that is still kept.") : pastTable(past, { now, onJob }),
      ...(onMore
        ? [h("p", { class: "pager" }, h("button", { type: "button", "data-focus": "more", onclick: onMore }, "More"))]
        : []),
    ),
    part("Engines", engines.length === 0 ? h("p", { class: "quiet" }, "None was found.") : engineTable(engines)),
    part(
      "Machine",
      facts([
        ["CPU", `${hardware.cpu.model}, ${hardware.cpu.cores} cores`],
        ["Memory", `${round(ram / 2 ** 30)} GiB`],
        ["Driver", hardware.driverVersion],
        ["Disk free", vitals?.diskFreeBytes == null ? null : size(vitals.diskFreeBytes)],
      ]),
    ),
    part(
      "Session",
      facts([
        [
          "Slots",
          Object.entries(worker.slots)
            .map(([kind, n]) => `${kind} ${n}`)
            .join(", "),
        ],
        ["Slots free", vitals ? free : null],
        [
          "Last beat",
          worker.lastBeatAt === null
            ? "none yet"
            : `${roughly(now - Date.parse(worker.lastBeatAt))} ago, ${worker.beats} in all`,
        ],
        ["Event loop delay", vitals ? `${round(vitals.loopLagMs)} ms` : null],
        ["Here since", clock(Date.parse(worker.registeredAt))],
        ["Process", worker.bootId],
      ]),
    ),
  ];
}

/**
 * @param {string} title
 * @param {...Node} children
 */
function part(title, ...children) {
  return h("section", {}, h("h3", {}, title), ...children);
}

/** @param {WorkerView} worker */
function gpuTable({ hardware, vitals }) {
  const rows = hardware.gpus.map(({ index, name, uuid, memoryTotalMiB, mig }) => {
    const usage = vitals?.gpus.find((gpu) => gpu.uuid === uuid);
    const usedMiB = usage?.memoryUsedMiB ?? null;
    const text =
      usedMiB !== null && memoryTotalMiB !== null
        ? memoryOf(usedMiB, memoryTotalMiB)
        : memoryTotalMiB !== null
          ? memory(memoryTotalMiB)
          : "";
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, `${index} · ${name}${mig ? " (MIG)" : ""}`),
      h("td", { class: "wide" }, bar(shareOf({ usedMiB, totalMiB: memoryTotalMiB }), "gpu")),
      h("td", { class: "number" }, text),
      h("td", { class: "number" }, usage?.utilization == null ? "" : `${round(usage.utilization, true)} %`),
    );
  });
  return table(["GPU", "", "Memory#", "Busy#"], rows);
}

/** @param {WorkerView["models"]} models */
function modelTable(models) {
  const rows = models.map((model) => {
    const { state, bytesDone, bytesTotal, errorCode, required, location, variant } = model;
    const isFetching = state === "fetching";
    const progressText = isFetching
      ? `${progress(model)} (${size(bytesDone)} of ${size(bytesTotal)})`
      : (errorCode ?? (bytesTotal > 0 ? size(bytesTotal) : ""));
    return h(
      "tr",
      {},
      h(
        "th",
        { scope: "row" },
        model.model,
        h("span", { class: "quiet" }, `${location} · ${variant}${required ? "" : " · optional"}`),
      ),
      h(
        "td",
        {},
        stateLabel(state, state),
        isFetching && bar(bytesTotal > 0 ? bytesDone / bytesTotal : null, "fetch"),
        h("span", { class: errorCode === null ? "quiet" : "error" }, progressText),
      ),
    );
  });
  return table(["Model", "State"], rows);
}

/** @param {WorkerView["engines"]} engines */
function engineTable(engines) {
  const rows = engines.map(({ kind, url, reachable, version }) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, kind, h("span", { class: "quiet" }, url)),
      h("td", {}, stateLabel(reachable ? "ready" : "lost", reachable ? "answers" : "does not answer")),
      h("td", { class: "number" }, version ?? ""),
    ),
  );
  return table(["Engine", "State", "Version#"], rows);
}

/**
 * @param {JobSummary[]} jobs
 * @param {Pick<Context, "now" | "onJob">} context
 */
function jobTable(jobs, { now, onJob }) {
  const rows = jobs.map((job) =>
    h("tr", {}, jobCell(job, onJob), h("td", {}, job.kind), h("td", { class: "number" }, jobTime(job, now))),
  );
  return table(["Job", "Kind", "Time#"], rows);
}

/**
 * @param {JobSummary[]} jobs
 * @param {Pick<Context, "now" | "onJob">} context
 */
function pastTable(jobs, { now, onJob }) {
  const rows = jobs.map((job) =>
    h(
      "tr",
      {},
      jobCell(job, onJob),
      h("td", {}, stateLabel(job.state, job.errorCode ?? JOB_STATE_NAMES[job.state])),
      h("td", { class: "number" }, `${roughly(now - (job.finishedAt ?? now))} ago`),
      h("td", { class: "number" }, jobTime(job, now)),
    ),
  );
  return table(["Job", "End", "When#", "Took#"], rows);
}

/**
 * @param {JobSummary} job
 * @param {(job: JobSummary) => void} onJob
 */
function jobCell(job, onJob) {
  const label = `${job.model}, ${job.kind}, job ${job.id}`;
  const attributes = { class: "open", "data-focus": job.id, "aria-label": label };
  return h(
    "th",
    { scope: "row" },
    h("button", { type: "button", ...attributes, onclick: () => onJob(job) }, job.model),
  );
}

/**
 * @param {string[]} heads With "#" at the end: of numbers.
 * @param {Node[]} rows
 */
function table(heads, rows) {
  const cells = heads.map((head) => {
    if (head === "") return h("td", {});
    const isNumber = head.endsWith("#");
    return h("th", { scope: "col", class: isNumber && "number" }, isNumber ? head.slice(0, -1) : head);
  });
  return h("table", {}, h("thead", {}, h("tr", {}, ...cells)), h("tbody", {}, ...rows));
}
