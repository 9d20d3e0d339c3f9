import type { Command } from "commander";
import type { Define } from "./define.ts";

/** The commands about the catalog of models and worker types; each loads when it runs. */

type Options = { json?: boolean };

const json = ["--json", "print JSON on standard output"] as const;

export function addCatalogCommands(program: Command, command: Define): void {
  const catalog = program
    .command("catalog")
    .description("the catalog of models and worker types: check, show, add, remove, schema (each has --json)");

  command(
    catalog
      .command("check")
      .description("check worker-types.json: its form, what in it can never work, and what is odd; asks nobody")
      .argument("[file]", "a catalog in place of the configured one and its overlay")
      .option("--strict", "what is odd fails, too")
      .option(...json)
      .addHelpText(
        "after",
        "\nExit code 0: right; 1: something can never work; 78: not of the right form.\n\nExamples:\n  muster catalog check\n  muster catalog check worker-types.json --strict",
      ),
    async (file: string | undefined, options: Options) =>
      (await import("./catalog-check.ts")).catalogCheck(file, options),
  );

  command(
    catalog
      .command("show")
      .description("show the catalog with its overlay: models, sizes, the card that each needs, worker types")
      .argument("[name]", "a worker type or a model of the catalog; all of it where none is given")
      .option(...json)
      .addHelpText(
        "after",
        "\nCards are the smallest that hold the model with 8192 tokens, or as many as it takes.\n\nExamples:\n  muster catalog show\n  muster catalog show gpu-worker\n  muster catalog show mistral-7b-instruct --json",
      ),
    async (name: string | undefined, options: Options) =>
      (await import("./catalog-show.ts")).catalogShow(name, options),
  );

  command(
    catalog
      .command("schema")
      .description("print the JSON Schema of worker-types.json")
      .addHelpText("after", "\nExample:\n  muster catalog schema > worker-types.schema.json"),
    async () => (await import("./catalog-schema.ts")).printCatalogSchema(),
  );
}
