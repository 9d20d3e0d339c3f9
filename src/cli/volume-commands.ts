import { type Command, Option } from "commander";
import { age, rate, several, since, size } from "./amounts.ts";
import type { Define } from "./define.ts";

/** The commands about the models on the volume; each loads when it runs. */

type Options = { json?: boolean };

const json = ["--json", "print JSON on standard output"] as const;

const dryRun = ["--dry-run", "only say what would be done"] as const;
const yes = ["--yes", "do not ask; required where there is no terminal"] as const;

export function addVolumeCommands(program: Command, command: Define): void {
  command(
    program
      .command("list")
      .description("list the models on the volume: source, revision, quantization, size, last use, and who uses them")
      .addOption(
        new Option("--sort <order>", "largest or latest first").choices(["name", "size", "used", "fetched", "source"]),
      )
      .option(...json)
      .addHelpText(
        "after",
        "\nExamples:\n  docker exec worker muster list\n  muster list --sort size\n  muster list --json",
      ),
    async (options: Options) => (await import("./list.ts")).list(options),
  );

  command(
    program
      .command("show")
      .description("show all that is known of a model on the volume, file by file")
      .argument("<model>", MODEL)
      .option(...json)
      .addHelpText("after", "\nExamples:\n  muster show mistral-7b-instruct\n  muster show acme/tiny@main --json"),
    async (model: string, options: Options) => (await import("./show.ts")).show(model, options),
  );

  command(
    program
      .command("du")
      .description("show what takes how much of the volume, by model, source and folder, largest first")
      .option(...json)
      .addHelpText("after", "\nExamples:\n  muster du\n  muster du --json"),
    async (options: Options) => (await import("./du.ts")).du(options),
  );

  command(
    program
      .command("verify")
      .description("read what is stored anew and hold it against the records; fetch what is wrong with --repair")
      .argument("[models...]", `${MODEL}; all where none is given`)
      .option("--repair", "fetch the wrong files anew, and only them")
      .option("--rate <rate>", "most that it reads, such as 200MB/s; VERIFY_RATE otherwise", rate)
      .option(
        "--write-checksums",
        "list the sha256 of what is right in checksums.txt on the volume, for `sha256sum -c`",
      )
      .option("--checksums [file]", "check what such a list says in place of the records")
      .option(...dryRun)
      .option(...json)
      .addHelpText(
        "after",
        "\nExamples:\n  docker exec worker muster verify\n  muster verify mistral-7b-instruct --repair\n  muster verify --rate 100MB/s --write-checksums\n  muster verify --checksums",
      ),
    async (models: string[], options: Options) => (await import("./verify.ts")).verify(models, options),
  );

  command(
    program
      .command("remove")
      .description(
        "take models off the volume; what other models share with them stays, and what a running worker needs",
      )
      .argument("<models...>", MODEL)
      .option(...dryRun)
      .option(...yes)
      .option(...json)
      .addHelpText(
        "after",
        "\nExamples:\n  muster remove acme/tiny --dry-run\n  docker exec worker muster remove mistral-7b-instruct --yes",
      ),
    async (models: string[], options: Options) => (await import("./remove.ts")).remove(models, options),
  );

  command(
    program
      .command("prune")
      .description(
        "remove models by age or size, least recently used first, and what was left behind; never what a running worker needs",
      )
      .option("--older-than <age>", "models that were not used for so long, such as 30d", age)
      .option("--max-size <size>", "until models take no more than this, such as 500GB", size)
      .option("--keep-type <type>", "keep what this worker type could choose; may be given several times", several)
      .option(...dryRun)
      .option(...yes)
      .option(...json)
      .addHelpText(
        "after",
        "\nWithout a rule only what was left behind goes: unfinished files and temporary ones, leases, nameless blobs.\n\nExamples:\n  muster prune --dry-run\n  muster prune --older-than 30d --yes\n  muster prune --max-size 500GB --keep-type gpu-worker --keep-type ocr",
      ),
    async (options: Options) => (await import("./prune.ts")).prune(options),
  );

  command(
    program
      .command("audit")
      .description("show who fetched, removed, pushed … what on the volume, of all hosts, in the order of time")
      .option("--since <when>", "only from then on: an age such as 7d, or a date", since)
      .option("--model <model>", MODEL)
      .option("--action <action>", "only these: fetched, removed …; may be given several times", several)
      .option("-f, --follow", "go on with what is done from now on")
      .option("--json", "print JSON on standard output; with --follow a line each")
      .addHelpText(
        "after",
        "\nExamples:\n  muster audit --since 7d\n  muster audit --model acme/tiny --json\n  docker exec worker muster audit --action removed --action pruned\n  muster audit --follow",
      ),
    async (options: Options) => (await import("./audit.ts")).audit(options),
  );

  command(
    program
      .command("archive")
      .description(
        "move a model to another disk, checked against its record; HF_ENDPOINT or a `path` variant reads it back",
      )
      .argument("<model>", MODEL)
      .argument("<folder>", "an absolute folder or a file:// URL; the model goes to base-models/ in it")
      .option("--copy", "keep it on the volume too")
      .option(...dryRun)
      .option(...yes)
      .option(...json)
      .addHelpText(
        "after",
        "\nExamples:\n  muster archive acme/tiny /mnt/cold --yes\n  muster archive mistral-7b-instruct /mnt/cold --copy\nBack again: HF_ENDPOINT=/mnt/cold muster sync mistral-7b-instruct",
      ),
    async (model: string, folder: string, options: Options) =>
      (await import("./archive.ts")).archive(model, folder, options),
  );

  addBundleCommands(program, command);
}

function addBundleCommands(program: Command, command: Define): void {
  command(
    program
      .command("export")
      .usage("[options] <models...> <file|folder|->")
      .description("write models to a bundle: a tar file that `muster import` adds to a volume no network leads to")
      .argument("[models...]", `${MODEL}; the last one is where they go: a file, a folder, or - for standard output`)
      .option("--all", "every model of the volume: a backup")
      .option("--part-size <size>", "split it, such as 4GB; `cat FILE.*` joins the parts", size)
      .option("--zstd", "pack it: bf16 weights become smaller by a fifth, quantized ones not at all")
      .option(...dryRun)
      .option(...yes)
      .option(...json)
      .addHelpText(
        "after",
        "\nWhat was interrupted goes on when the same export is run again. The folder takes a bundle unpacked, and more of them.\n\nExamples:\n  muster export mistral-7b-instruct /mnt/usb/mistral.tar\n  muster export tiny chat /mnt/usb/models.tar --part-size 4GB\n  muster export --all /mnt/backup/\n  muster export acme/tiny - | ssh host docker exec -i worker muster import -",
      ),
    async (args: string[], options: Options) => (await import("./export.ts")).exportModels(args, options),
  );

  command(
    program
      .command("import")
      .description("add to the volume what bundles of `muster export` have and it lacks; every byte is checked first")
      .argument("<bundles...>", "a file (or any part of one), a folder, or - for standard input")
      .option("--update", "take models to the bundle's revision that have another; that is kept (KEEP_REVISIONS)")
      .option("--sha256 <digest>", "take only the bundle whose manifest has this digest, as `muster export` printed it")
      .option(...dryRun)
      .option(...json)
      .addHelpText(
        "after",
        "\nWhat was interrupted goes on when the same import is run again.\n\nExamples:\n  docker exec worker muster import /mnt/usb/mistral.tar\n  muster import /mnt/usb/models.tar.000 --dry-run\n  muster import /mnt/backup/\n  zstd -dc models.tar.zst | muster import -",
      ),
    async (names: string[], options: Options) => (await import("./import.ts")).importModels(names, options),
  );
}

const MODEL = "a model of the catalog, or its name at the source, as `muster list` shows it";
