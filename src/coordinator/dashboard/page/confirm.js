import { byId, setText } from "./dom.js";

/**
 * Asks before something is done. The harmless answer has the focus.
 * @param {{ title: string, text: string, yes: string }} question
 * @returns {Promise<boolean>}
 */
export function confirm({ title, text, yes }) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("confirm"));
  setText(byId("confirm-title"), title);
  setText(byId("confirm-text"), text);
  setText(byId("confirm-yes"), yes);
  const { promise, resolve } = /** @type {PromiseWithResolvers<boolean>} */ (Promise.withResolvers());
  const over = new AbortController();
  const { signal } = over;
  byId("confirm-yes").addEventListener("click", () => dialog.close("yes"), { signal });
  byId("confirm-no").addEventListener("click", () => dialog.close("no"), { signal });
  dialog.addEventListener(
    "close",
    () => {
      over.abort();
      resolve(dialog.returnValue === "yes");
    },
    { signal },
  );
  dialog.returnValue = "";
  dialog.showModal();
  byId("confirm-no").focus();
  return promise;
}
