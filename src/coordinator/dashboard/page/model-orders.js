import { confirm } from "./confirm.js";
import { byId, h, setAttribute, setText } from "./dom.js";
import { plural } from "./format.js";
import { callJson, errorText } from "./session.js";

/**
 * Has workers fetch a model, or drop one.
 * @import { Fleet } from "./fleet.js"
 */

/** @param {{ fleet: Fleet }} options */
export function modelOrders({ fleet }) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("ask-model"));
  const form = /** @type {HTMLFormElement} */ (byId("ask-model-form"));
  const name = /** @type {HTMLInputElement} */ (byId("ask-model-name"));
  const count = /** @type {HTMLInputElement} */ (byId("ask-model-count"));
  const type = /** @type {HTMLSelectElement} */ (byId("ask-model-type"));
  const submit = byId("ask-model-submit");
  const say = (/** @type {string} */ text) => setText(byId("models-message"), text);

  const open = () => {
    const types = [...new Set([...fleet.workers.values()].map((worker) => worker.type))].sort();
    type.replaceChildren(
      h("option", { value: "" }, "Of any type"),
      ...types.map((each) => h("option", { value: each }, each)),
    );
    setText(byId("ask-model-error"), "");
    setAttribute(name, "aria-invalid", null);
    dialog.showModal();
    name.select();
  };

  const ask = async () => {
    const model = name.value.trim();
    setText(byId("ask-model-error"), "");
    setAttribute(submit, "disabled", true);
    try {
      const body = { model, count: Number(count.value), ...(type.value && { worker_type: type.value }) };
      const { workers } = await callJson("/v1/models", { method: "POST", body });
      dialog.close();
      name.value = "";
      say(`${model}: ${plural(workers.length, "worker")} asked.`);
    } catch (error) {
      setText(byId("ask-model-error"), errorText(error));
      setAttribute(name, "aria-invalid", true);
    } finally {
      setAttribute(submit, "disabled", null);
    }
  };

  byId("ask-model-open").addEventListener("click", open);
  byId("ask-model-no").addEventListener("click", () => dialog.close());
  name.addEventListener("input", () => setAttribute(name, "aria-invalid", null));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void ask();
  });

  return {
    close: () => dialog.close(),
    /** @param {string} model */
    async remove(model) {
      const text =
        "Workers that have it take no new jobs for it, and drop it once those that run have ended. Its files stay on their volumes. A model that a worker type requires stays.";
      if (!(await confirm({ title: `Remove ${model} from all workers?`, text, yes: "Remove" }))) return;
      try {
        const { workers } = await callJson(`/v1/models/${encodeURIComponent(model)}`, { method: "DELETE" });
        const told = workers.filter((/** @type {{ told: boolean }} */ worker) => worker.told).length;
        const left = workers.length - told;
        const away = left > 0 ? ` ${plural(left, "worker")} not connected, and not told.` : "";
        say(`${model}: ${plural(told, "worker")} told to remove it.${away}`);
      } catch (error) {
        say(errorText(error));
      }
    },
  };
}
