/** The same words so often, and then not again for so long. */
const MOST = 4;
const WINDOW_MS = 5_000;

/** Sixteen connections that meet the same trouble are one trouble: of the same words only the first few are told. */
export function tellSparingly(
  tell: (text: string) => void,
  now: () => number = () => performance.now(),
): (what: string, more: string) => void {
  const told = new Map<string, { times: number; until: number }>();
  return (what, more) => {
    const before = told.get(what);
    const window = before && now() < before.until ? before : { times: 0, until: now() + WINDOW_MS };
    told.set(what, { ...window, times: window.times + 1 });
    if (window.times < MOST) tell(what + more);
  };
}
