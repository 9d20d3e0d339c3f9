import type { Command } from "commander";
import type { Define } from "./define.ts";

/** The commands about which revision of a model the volume has; each loads when it runs. */

type Options = { json?: boolean; dryRun?: boolean };

const MODEL = "a model of the catalog, or its name at the source, as `muster list` shows it";
const json = ["--json", "print JSON on standard output"] as const;
const dryRun = ["--dry-run", "only say what would be done"] as const;

export function addRevisionCommands(program: Command, command: Define): void {
  command(
    program
      .command("outdated")
      .description(
        "show which models have moved at their source, and what fetching that would take; exit 1 where one has",
      )
      .argument("[models...]", `${MODEL}; all where none is given`)
      .option(...json)
      .addHelpText(
        "after",
        "\nExit codes: 0 nothing has moved, 1 something has, 75 a source did not answer and nothing else has moved.\n\nExamples:\n  docker exec worker muster outdated\n  muster outdated mistral-7b-instruct --json",
      ),
    async (models: string[], options: Options) => (await import("./outdated.ts")).outdated(models, options),
  );

  command(
    program
      .command("update")
      .description(
        "take models to the revision that their source has now; only changed files are fetched, and the revision before is kept (KEEP_REVISIONS)",
      )
      .argument("[models...]", `${MODEL}; all where none is given`)
      .option("--to <revision>", "`previous`, or a commit or digest; at once and without a network where it is kept")
      .option(...dryRun)
      .option(...json)
      .addHelpText(
        "after",
        "\nExamples:\n  muster update --dry-run\n  docker exec worker muster update mistral-7b-instruct\n  muster update mistral-7b-instruct --to previous\n  muster update acme/tiny --to f11654f7d50e",
      ),
    async (models: string[], options: Options & { to?: string }) =>
      (await import("./update.ts")).update(models, options),
  );

  command(
    program
      .command("lock")
      .description(
        "write down which revisions the volume has (models.lock.json), for `muster sync --locked` to fetch just these",
      )
      .argument("[models...]", `${MODEL}; where some are given, the entries of others stay as they are`)
      .option("--file <path>", "where the lock stands; MODELS_LOCK otherwise")
      .option(...dryRun)
      .option(...json)
      .addHelpText(
        "after",
        "\nExamples:\n  muster lock\n  muster lock --file ./models.lock.json\n  muster lock mistral-7b-instruct --dry-run\nThen, elsewhere: MODELS_LOCK=./models.lock.json muster sync --locked, or MODELS_LOCKED=true for `muster start`",
      ),
    async (models: string[], options: Options & { file?: string }) => (await import("./lock.ts")).lock(models, options),
  );

  const pins = {
    pin: "keep models from `prune`, `remove` and `archive`, whatever their age; an update still moves them on",
    unpin: "let models go that were pinned",
  };
  for (const [name, description] of Object.entries(pins)) {
    command(
      program
        .command(name)
        .description(description)
        .argument("<models...>", `${MODEL}; name@revision for one that is kept beside the model's`)
        .option(...dryRun)
        .option(...json)
        .addHelpText(
          "after",
          `\nExamples:\n  muster ${name} mistral-7b-instruct\n  muster ${name} acme/tiny@f11654f7d50e`,
        ),
      async (models: string[], options: Options) =>
        (await import("./pin.ts")).pin(name as keyof typeof pins, models, options),
    );
  }
}
