import type { JobStore } from "../stores/job-store.ts";
import type { Tally } from "./tally.ts";

const OPERATIONS = ["insert", "get", "list", "unfinished", "assign", "release", "commit", "tokensOf", "prune"] as const;
/** `unfinished` is for the start only, and not every store has it. */
type Operations = Omit<Pick<JobStore, (typeof OPERATIONS)[number]>, "unfinished">;
type AnyOperation = (...given: unknown[]) => Promise<unknown>;

/** The operations of a store, each of which tells how long it took, whether it went well or not. */
export function timed<S extends Operations>(
  store: S,
  { stored }: Pick<Tally, "stored">,
): Pick<S, keyof S & keyof JobStore> {
  const operations = OPERATIONS.filter((name) => name in store).map((name) => {
    const plain = ((store as unknown as JobStore)[name] as AnyOperation).bind(store);
    const operation: AnyOperation = (...given) => {
      const begun = performance.now();
      return plain(...given).finally(() => stored(name, (performance.now() - begun) / 1000));
    };
    return [name, operation];
  });
  return Object.fromEntries(operations);
}
