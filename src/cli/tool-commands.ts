import { Argument, type Command } from "commander";
import { size } from "./amounts.ts";
import type { Define } from "./define.ts";

/** The commands around a worker's place; each loads when it runs. */

const json = ["--json", "print JSON on standard output"] as const;

export function addToolCommands(program: Command, command: Define): void {
  command(
    program
      .command("warm")
      .description("read models into memory (the page cache), and have their engine load them")
      .argument("<models...>", "a model of the catalog, or its name at the source, as `muster list` shows it")
      .option("--no-engine", "only the page cache")
      .option(...json)
      .addHelpText(
        "after",
        "\nExamples:\n  docker exec worker muster warm mistral-7b-instruct\n  muster warm acme/tiny --no-engine",
      ),
    async (models: string[], options: { json?: boolean; engine?: boolean }) =>
      (await import("./warm.ts")).warm(models, options),
  );

  command(
    program
      .command("bench-disk")
      .description(
        "measure the volume: writing, reading, syncs, renames, leases, beside what fetching and loading need",
      )
      .option("--size <size>", "of the file that is written and read, 1GB otherwise; it is gone at the end", size)
      .option(...json)
      .addHelpText(
        "after",
        "\nExamples:\n  docker exec worker muster bench-disk\n  MODEL_CACHE_DIR=/mnt/nfs muster bench-disk --size 10GB --json",
      ),
    async (options: { json?: boolean; size?: number }) => (await import("./bench-disk.ts")).benchDisk(options),
  );

  command(
    program
      .command("completion")
      .description("print the completion of a shell, made of these commands and their options")
      .addArgument(
        new Argument("<shell>", "bash, zsh or fish; models and names are what their scripts ask for").choices([
          "bash",
          "zsh",
          "fish",
          "models",
          "names",
        ]),
      )
      .addHelpText(
        "after",
        "\nExamples:\n  source <(muster completion bash)          # in ~/.bashrc\n  source <(muster completion zsh)           # in ~/.zshrc, after compinit\n  muster completion fish | source           # in ~/.config/fish/config.fish",
      ),
    async (what: "bash" | "zsh" | "fish" | "models" | "names") =>
      (await import("./completion.ts")).completion(what, program),
  );
}
