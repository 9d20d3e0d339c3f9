import { byId, h, keyedList, setText } from "./dom.js";
import { alertsOf } from "./fleet.js";
import { mark } from "./parts.js";

/**
 * What needs attention. New ones are read out, a few at a time.
 * @import { Alert, Fleet } from "./fleet.js"
 */

const SHOWN = 6;

/** @param {{ fleet: Fleet, onOpen: (id: string) => void, announce: (text: string) => void }} options */
export function alertsPanel({ fleet, onOpen, announce }) {
  const list = byId("alert-list");
  /** @type {Set<string> | null} */
  let known = null;
  const renderItems = keyedList(list, {
    key: (/** @type {Alert} */ { key }) => key,
    create({ level }) {
      const text = h("span");
      const item = h("li", { class: level }, mark(level), text);
      /** @type {string | null} */
      let workerId = null;
      const open = h(
        "button",
        { type: "button", class: "link", onclick: () => workerId !== null && onOpen(workerId) },
        "Show",
      );
      return {
        element: item,
        update(alert) {
          workerId = alert.workerId;
          setText(text, alert.text);
          if (workerId === null) open.remove();
          else if (!open.isConnected) item.append(open);
          open.setAttribute("aria-label", `Show ${workerId}`);
        },
      };
    },
  });
  return {
    render() {
      const alerts = alertsOf(fleet);
      const rest = alerts.length - SHOWN;
      /** @type {Alert} */
      const more = {
        key: "more",
        level: "warn",
        text: `and ${rest} more; the workers below can be ordered by trouble`,
        workerId: null,
      };
      renderItems(rest > 1 ? [...alerts.slice(0, SHOWN), more] : alerts);
      byId("alerts").hidden = alerts.length === 0;
      if (!fleet.isComplete) return;
      const fresh = known ? alerts.filter(({ key }) => !known?.has(key)) : [];
      known = new Set(alerts.map(({ key }) => key));
      if (fresh.length > 3) announce(`${fresh.length} new alerts, the first: ${fresh[0]?.text}`);
      else if (fresh.length > 0) announce(fresh.map(({ text }) => text).join(". "));
    },
  };
}
