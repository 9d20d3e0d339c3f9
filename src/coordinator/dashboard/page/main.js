import { alertsPanel } from "./alerts.js";
import { detailSheet } from "./detail.js";
import { byId, setText } from "./dom.js";
import { startFeed } from "./feed.js";
import { Fleet } from "./fleet.js";
import { duration } from "./format.js";
import { jobsPanel } from "./jobs.js";
import { modelOrders } from "./model-orders.js";
import { modelsPanel } from "./models.js";
import { ApiError, call, forgetKey, hasKey, keepKey } from "./session.js";
import { startTheme } from "./theme.js";
import { renderTotals } from "./totals.js";
import { workersPanel } from "./workers.js";

/** Puts the page together: the key, the feed, and the panels that show what came. */

const fleet = new Fleet();
/** @param {string} text */
const announce = (text) => setText(byId("announcer"), text);
const detail = detailSheet({ fleet });
const workers = workersPanel({ fleet, onOpen: detail.openWorker });
const orders = modelOrders({ fleet });
const models = modelsPanel({ fleet, onRemove: orders.remove });
/** @param {unknown} error */
const onJobsError = (error) => announce(error instanceof Error ? error.message : String(error));
const jobs = jobsPanel({ fleet, onOpen: detail.openJob, onError: onJobsError });
const alerts = alertsPanel({ fleet, onOpen: detail.openWorker, announce });
/** @type {{ stop: () => void } | null} */
let feed = null;
let isDue = false;

startTheme(/** @type {HTMLSelectElement} */ (byId("theme")));

function render() {
  isDue = false;
  renderTotals(fleet);
  alerts.render();
  workers.render();
  models.render();
  jobs.render();
  detail.refresh();
  setText(byId("version"), fleet.version);
}

function renderSoon() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(render);
}

function showFleet() {
  byId("sign-in").hidden = true;
  byId("fleet").hidden = false;
  byId("sign-out").hidden = !hasKey();
  detail.start();
  feed?.stop();
  feed = startFeed({
    onEvent(event, data) {
      if (event === "hello") {
        fleet.begin(data);
        jobs.reset();
      } else if (event === "change") fleet.apply(data);
      else if (event === "complete") fleet.isComplete = true;
      // What was shown before stays until all of the new stream is there.
      if (fleet.isComplete) renderSoon();
    },
    onConnection: showConnection,
  });
}

/** @param {import("./feed.js").Connection} connection */
function showConnection(connection) {
  const pill = byId("connection");
  const text = byId("connection-text");
  const before = pill.dataset.state;
  pill.dataset.state = connection.state;
  byId("fleet").classList.toggle(
    "is-stale",
    connection.state === "waiting" || (connection.state === "connecting" && before === "waiting"),
  );
  if (connection.state === "live") {
    setText(text, "Live");
    if (before === "waiting" || before === "connecting") announce("Live");
  } else if (connection.state === "waiting") {
    setText(text, `No connection, trying again in ${duration(Math.ceil(connection.retryMs / 1000) * 1000)}`);
    if (before === "live") announce("The connection to the coordinator is lost; it is tried again.");
  } else if (connection.state === "refused") askForKey(connection.message);
  else setText(text, "Connecting");
}

/** @param {string} [message] */
function askForKey(message = "") {
  feed?.stop();
  feed = null;
  forgetKey();
  detail.close();
  orders.close();
  byId("fleet").hidden = true;
  byId("sign-out").hidden = true;
  byId("sign-in").hidden = false;
  byId("connection").dataset.state = "refused";
  setText(byId("connection-text"), "Not signed in");
  setText(byId("key-error"), message);
  byId("key").focus();
}

/** Opens the stream and lets go of it: the check is the very thing that the key is for. @param {string} key */
async function check(key) {
  const abort = new AbortController();
  try {
    await call("/v1/fleet/events", { key, signal: abort.signal });
  } finally {
    abort.abort();
  }
}

byId("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = /** @type {HTMLInputElement} */ (byId("key"));
  const key = input.value.trim();
  setText(byId("key-error"), "");
  try {
    // A header takes no other letters, and no key has any.
    if (!/^[\x21-\x7e]+$/.test(key)) throw new ApiError(401, "");
    await check(key);
    keepKey(key);
    input.value = "";
    showFleet();
    // What the address says is open has the focus.
    if (!document.querySelector("dialog[open]")) byId("workers").focus();
  } catch (error) {
    const isRefusal = error instanceof ApiError && error.isRefusal;
    const why =
      error instanceof ApiError && error.status === 403 ? "This key is not an admin's." : "This key is wrong.";
    setText(
      byId("key-error"),
      isRefusal ? why : `The coordinator could not be asked: ${error instanceof Error ? error.message : error}`,
    );
    input.setAttribute("aria-invalid", "true");
    input.select();
  }
});

byId("key").addEventListener("input", () => byId("key").removeAttribute("aria-invalid"));
byId("sign-out").addEventListener("click", () => askForKey());
// Times pass without news, too.
setInterval(() => fleet.isComplete && !document.hidden && renderSoon(), 5_000);

// Where the coordinator asks for no key it says so in the page, and neither do we.
if (hasKey() || document.documentElement.hasAttribute("data-open")) showFleet();
else askForKey();
