import { type Command, Option } from "commander";
import { ENGINES, TASKS } from "../model.ts";
import { several } from "./amounts.ts";
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
      .command("add")
      .description(
        "find out what a catalog says of models (size, licence, format, memory, card), and print it; --write adds it",
      )
      .argument("<references...>", "hf:org/name[@revision], ollama:name[:tag], s3://bucket/folder, or /folder")
      .option("--as <id>", "the model's id in the catalog; once for each model, in their order", several)
      .option("--type <type>", "worker types that are to serve it; may be given several times", several)
      .option("--optional", "they run without it, too")
      .addOption(new Option("--task <task>", "what it is for, where the source does not say").choices(TASKS))
      .addOption(new Option("--engine <engine>", "what is to serve it").choices(ENGINES))
      .option("--quantization <name>", "which GGUF file of a repository that has several, such as q4_k_m")
      .option("--pin", "write the commit or digest that the source has now in place of the branch")
      .option("--allow-pickle", "also where the weights are pickles, whose loading can run code")
      .option("--write", "write it into the overlay, or the catalog where there is none; a terminal asks otherwise")
      .option("--yes", "the same as --write")
      .option("--dry-run", "only print, and do not ask")
      .option(...json)
      .addHelpText(
        "after",
        "\nWhat is printed on standard output is a file by itself, as an overlay is.\n\nExamples:\n  muster catalog add hf:Qwen/Qwen2.5-7B-Instruct\n  muster catalog add ollama:qwen2.5:0.5b --as small --type cpu-worker --write\n  muster catalog add s3://models/prod/base-models/acme-tiny --json\n  muster catalog add hf:acme/tiny --dry-run > overlay.json",
      ),
    async (references: string[], options: Options) =>
      (await import("./catalog-add.ts")).catalogAdd(references, options),
  );

  command(
    catalog
      .command("remove")
      .description("take a model out of the catalog and its worker types; what is on the volume stays")
      .argument("<id>", "a model of the catalog")
      .option("--type <type>", "only out of this worker type; may be given several times", several)
      .option("--dry-run", "only say what would be done")
      .option("--yes", "do not ask; required where there is no terminal")
      .option(...json)
      .addHelpText(
        "after",
        "\nExamples:\n  muster catalog remove small --dry-run\n  muster catalog remove small --type cpu-worker --yes",
      ),
    async (id: string, options: Options) => (await import("./catalog-remove.ts")).catalogRemove(id, options),
  );

  command(
    program
      .command("import-gguf")
      .description(
        "have the Ollama server at OLLAMA_URL make a model of GGUF files or safetensors: a file, a folder, or a repository, which is fetched to the volume first",
      )
      .argument("<source>", "a .gguf file, a folder, hf:org/name[@revision] or s3://bucket/folder")
      .requiredOption("--as <name>", "the model's name at Ollama: [namespace/]model[:tag]")
      .option("--quantize <type>", "have the server quantize weights in F16, BF16 or F32, such as to q4_K_M")
      .option("--gguf <quantization>", "which GGUF file of several, such as q8_0; q4_k_m otherwise")
      .option("--license <id>", "its licence, where nothing says it, for ALLOWED_LICENSES")
      .option("--dry-run", "only say what would be done")
      .option("--yes", "replace a model of that name without asking")
      .option(...json)
      .addHelpText(
        "after",
        "\nFiles that the server has, known by their digests, are not sent again: run it again after an interruption.\n\nExamples:\n  OLLAMA_URL=http://127.0.0.1:11434 muster import-gguf ./tiny.gguf --as tiny\n  muster import-gguf hf:Qwen/Qwen2.5-0.5B-Instruct --as qwen-small --quantize q4_K_M\n  muster import-gguf hf:bartowski/Llama-3.2-1B-Instruct-GGUF --gguf q8_0 --as llama-small:q8",
      ),
    async (source: string, options: Options & { as: string }) =>
      (await import("./import-gguf.ts")).importGguf(source, options),
  );

  command(
    catalog
      .command("schema")
      .description("print the JSON Schema of worker-types.json")
      .addHelpText("after", "\nExample:\n  muster catalog schema > worker-types.schema.json"),
    async () => (await import("./catalog-schema.ts")).printCatalogSchema(),
  );
}
