import { parseArgs } from "node:util";

/** What `npm run bench --` takes. */
export interface Options {
  /** Size of the one large file; every other size is a share of it. */
  mib: number;
  rounds: number;
  /** Names of scenarios; none stands for all. */
  only: string[];
  /** Folder that keeps the data between runs; a temporary one without it. */
  data: string | null;
  /** File for the raw figures. */
  json: string | null;
}

/** What the goals are set for: only figures of this size and at least so many rounds go into the documents. */
export const FULL = { mib: 4096, rounds: 3 };

export const USAGE = `usage: npm run bench -- [options]
  --mib N        size of the large file, ${FULL.mib}; every other size is a share of it
  --rounds N     rounds, interleaved; ${FULL.rounds}
  --only NAME    this scenario only; may be given again
  --data FOLDER  keeps the random data there and takes it from there
  --json FILE    keeps the raw figures there
  --list         names the scenarios
Figures of full size (${FULL.mib} MiB, ${FULL.rounds} rounds or more) go to docs/benchmarks.json and docs/benchmarks.md; those of a
trial are printed only.
`;

/** Throws with a text for people where the arguments make no sense. */
export function parseOptions(args: string[], scenarios: readonly string[]): Options | "list" | "help" {
  const { values } = parseArgs({
    args,
    options: {
      mib: { type: "string", default: String(FULL.mib) },
      rounds: { type: "string", default: String(FULL.rounds) },
      only: { type: "string", multiple: true, default: [] },
      data: { type: "string" },
      json: { type: "string" },
      list: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return "help";
  if (values.list) return "list";
  const unknown = values.only.filter((name) => !scenarios.includes(name));
  if (unknown.length > 0) throw new Error(`no scenario ${unknown.join(", ")}; there are: ${scenarios.join(", ")}`);
  return {
    mib: positive("--mib", values.mib),
    rounds: positive("--rounds", values.rounds),
    only: values.only,
    data: values.data ?? null,
    json: values.json ?? null,
  };
}

export function isFull({ mib, rounds }: Options): boolean {
  return mib === FULL.mib && rounds >= FULL.rounds;
}

function positive(name: string, value: string): number {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 1) throw new Error(`${name} has to be a whole number of at least 1`);
  return number;
}
