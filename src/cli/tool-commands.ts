import { Argument, type Command } from "commander";

/** The commands around a worker's place; each loads when it runs. */

type Define = <Arguments extends unknown[]>(definition: Command, run: (...args: Arguments) => Promise<number>) => void;

export function addToolCommands(program: Command, command: Define): void {
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
