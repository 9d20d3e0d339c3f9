/**
 * What the address says is open beside the fleet: `#/workers/ID` or `#/jobs/ID`, so that it can be sent to somebody, and the
 * browser's back button closes it.
 * @typedef {{ kind: "worker" | "job", id: string }} Route
 */

const PLACES = { worker: "workers", job: "jobs" };

/** @returns {Route | null} */
function routeOf(/** @type {string} */ hash) {
  const [, place, id] = /^#\/(workers|jobs)\/(.+)$/.exec(hash) ?? [];
  if (id === undefined) return null;
  try {
    return { kind: place === "jobs" ? "job" : "worker", id: decodeURIComponent(id) };
  } catch {
    return null;
  }
}

/** Steps that were made in this page, and that the back button would undo. */
const depth = () => Number(history.state?.depth ?? 0);

/** @param {{ onRoute: (route: Route | null) => void }} options */
export function startRoutes({ onRoute }) {
  const now = () => onRoute(routeOf(location.hash));
  let isLeaving = false;
  /** Asked for while the way back was not made yet. @type {Route | null} */
  let next = null;

  /** @param {Route} route */
  const goTo = (route) => {
    if (isLeaving) {
      next = route;
      return;
    }
    const hash = `#/${PLACES[route.kind]}/${encodeURIComponent(route.id)}`;
    if (location.hash !== hash) history.pushState({ depth: depth() + 1 }, "", hash);
    now();
  };

  addEventListener("popstate", () => {
    isLeaving = false;
    const wanted = next;
    next = null;
    if (wanted) goTo(wanted);
    else now();
  });

  return {
    goTo,
    /** Shows what the address says. */
    now,
    /** To the fleet alone. Where the page was entered by such an address there is no way back to it. */
    leave() {
      if (isLeaving || !routeOf(location.hash)) return;
      isLeaving = depth() > 0;
      if (isLeaving) history.go(-depth());
      else history.replaceState(null, "", location.pathname + location.search);
    },
  };
}
