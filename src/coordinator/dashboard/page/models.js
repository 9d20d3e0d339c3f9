import { byId, h, keyedList, setText } from "./dom.js";
import { modelsOf } from "./fleet.js";
import { count, progress, roughly, size } from "./format.js";
import { bar, stateLabel } from "./parts.js";

/**
 * Models across the fleet.
 * @import { Fleet, FleetModel } from "./fleet.js"
 */

const STATES = /** @type {const} */ (["ready", "loading", "stored", "fetching", "requested", "failed"]);

/** @param {{ fleet: Fleet, onRemove: (model: string) => void }} options */
export function modelsPanel({ fleet, onRemove }) {
  const renderRows = keyedList(byId("model-rows"), {
    key: (/** @type {FleetModel} */ { model }) => model,
    create({ model }) {
      const cell = h("td");
      const remove = h(
        "button",
        { type: "button", class: "link", "aria-label": `Remove ${model}`, onclick: () => onRemove(model) },
        "Remove",
      );
      let before = "";
      return {
        element: h("tr", {}, h("th", { scope: "row" }, model), cell, h("td", { class: "cell-remove" }, remove)),
        update(entry) {
          const now = JSON.stringify([...entry.states, entry.fetching]);
          if (now !== before) cell.replaceChildren(...statesOf(entry));
          before = now;
        },
      };
    },
  });
  return {
    render() {
      const models = modelsOf(fleet.workers.values());
      renderRows(models);
      setText(byId("models-count"), models.length > 0 ? count(models.length) : "");
      byId("models-empty").hidden = models.length > 0;
    },
  };
}

/** @param {FleetModel} model */
function statesOf({ states, fetching }) {
  const labels = STATES.filter((state) => states.has(state)).map((state) =>
    stateLabel(state, `${count(states.get(state) ?? 0)} ${state}`),
  );
  const parts = /** @type {Node[]} */ ([h("span", { class: "labels" }, ...labels)]);
  if (fetching.workers > 0) {
    const share = fetching.bytesTotal > 0 ? fetching.bytesDone / fetching.bytesTotal : null;
    const text =
      fetching.workers === 1
        ? progress(fetching)
        : `${Math.floor(100 * (share ?? 0))} % · ${size(fetching.rate)}/s${fetching.leftMs === null ? "" : ` · ${roughly(fetching.leftMs)} left`}`;
    parts.push(h("span", { class: "download" }, bar(share, "fetch"), h("span", { class: "quiet nowrap" }, text)));
  }
  return parts;
}
