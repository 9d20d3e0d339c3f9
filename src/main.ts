#!/usr/bin/env node
import { enableCompileCache } from "node:module";
import { Command, CommanderError, InvalidArgumentError } from "commander";
import { addCatalogCommands } from "./cli/catalog-commands.ts";
import { groupCommands, OTHERS } from "./cli/command-groups.ts";
import { addRevisionCommands } from "./cli/revision-commands.ts";
import { addToolCommands } from "./cli/tool-commands.ts";
import { usageError, wantsJson } from "./cli/usage-error.ts";
import { addVolumeCommands } from "./cli/volume-commands.ts";
import { watchOutput } from "./cli/watch-output.ts";
import { EXIT } from "./errors.ts";
import { VERSION } from "./system.ts";

enableCompileCache();

watchOutput();

const args = process.argv.slice(2);
const isJson = wantsJson(args);

const program = new Command("muster")
  .description("The entrypoint agent of AI workers: detect, select, fetch, register, serve.")
  .version(VERSION, "-V, --version")
  .enablePositionalOptions()
  .commandsGroup(OTHERS)
  .helpCommand("help [command]", "display help for command")
  .configureHelp({ showGlobalOptions: true })
  .configureOutput(isJson ? { writeErr: () => undefined } : {})
  .addHelpText(
    "after",
    "\nSettings come from the environment; docs/configuration.md lists them.\nExit codes: 0 done, 1 failed, 64 wrong usage, 75 try again, 78 configuration or authorization.",
  )
  .exitOverride();

/** Commands load when they run, so that `health` every few seconds costs little. */
function command<Arguments extends unknown[]>(definition: Command, run: (...args: Arguments) => Promise<number>): void {
  definition.exitOverride().action(async (...args: unknown[]) => {
    const options = definition.opts<{ json?: boolean }>();
    try {
      process.exitCode = await run(...(args as Arguments));
    } catch (error) {
      const { printError } = await import("./cli/output.ts");
      process.exitCode = printError(error, options).exitCode;
    }
  });
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError("Allowed: a number above 0.");
  return value;
}

const json = ["--json", "print JSON on standard output"] as const;
const jsonLog = ["--json", "log in JSON, a line an event"] as const;

command(
  program
    .command("start")
    .description(
      "run the worker: detect, select, fetch, register, serve; with a command after --, supervise it as the engine",
    )
    .argument("[engine...]", "engine to supervise, after --: ollama serve, vllm serve …")
    .option(...jsonLog)
    .passThroughOptions()
    .addHelpText(
      "after",
      "\nExamples:\n  WORKER_TYPE=embedding muster start\n  WORKER_TYPE=gpu-worker muster start -- ollama serve",
    ),
  async (engine: string[], options) => (await import("./cli/start.ts")).start(engine, options as { json?: boolean }),
);

command(
  program
    .command("sync")
    .description("fetch what is missing of a worker type's models (or of single models), and end")
    .argument("[names...]", "worker type or models of the catalog; WORKER_TYPE where none is given")
    .option(
      "--prefetch",
      "for other machines (PLAN_GPU_MEMORY_GB), whatever this one could run; `all` is every worker type",
    )
    .option("--locked", "fetch exactly what the lock names (MODELS_LOCK; `muster lock` writes it), and nothing else")
    .option("--dry-run", "only say what would be fetched; `muster plan` says why")
    .option(...json)
    .addHelpText(
      "after",
      "\nExamples:\n  docker exec worker muster sync\n  muster sync embedding --dry-run\n  MODELS_LOCK=./models.lock.json muster sync --locked\n  muster sync all-minilm-l6-v2 --json\n  PLAN_GPU_MEMORY_GB=24 muster sync --prefetch all",
    ),
  async (names: string[], options) =>
    (await import("./cli/sync.ts")).sync(
      names,
      options as { json?: boolean; prefetch?: boolean; locked?: boolean; dryRun?: boolean },
    ),
);

command(
  program
    .command("push")
    .description(
      "take a model of the volume to a bucket or a folder, for others to fetch from; sends what is missing there",
    )
    .argument("<model>", "a model of the catalog, or its name at the source; complete on the volume")
    .argument("<destination>", "s3://bucket/prefix, an absolute folder or a file:// URL")
    .option("--dry-run", "only say what would be sent")
    .option(...json)
    .addHelpText(
      "after",
      "\nExamples:\n  muster push mistral-7b-instruct s3://models/prod\n  muster push acme/tiny /mnt/usb\nWorkers fetch from there with HF_ENDPOINT=s3://models/prod,https://huggingface.co",
    ),
  async (model: string, destination: string, options) =>
    (await import("./cli/push.ts")).push(model, destination, options as { json?: boolean; dryRun?: boolean }),
);

command(
  program
    .command("plan")
    .description("show hardware, the models and variants that fit, and what would be fetched; fetches no weights")
    .argument("[names...]", "worker type or models of the catalog; WORKER_TYPE where none is given")
    .option(...json)
    .addHelpText("after", "\nExamples:\n  docker exec worker muster plan\n  muster plan embedding --json"),
  async (names: string[], options) => (await import("./cli/plan.ts")).plan(names, options as { json?: boolean }),
);

command(
  program
    .command("status")
    .description("show what the running agent is doing")
    .option(...json)
    .addHelpText("after", "\nExamples:\n  docker exec worker muster status\n  muster status --json | jq .models"),
  async (options) => (await import("./cli/status.ts")).status(options as { json?: boolean }),
);

addVolumeCommands(program, command);
addCatalogCommands(program, command);
addRevisionCommands(program, command);
addToolCommands(program, command);

command(
  program
    .command("health")
    .description("exit 0 while the agent is alive (for HEALTHCHECK)")
    .option("--ready", "exit 0 only while work may be sent to it")
    .option(...json)
    .addHelpText("after", "\nExamples:\n  muster health\n  docker exec worker muster health --ready"),
  async (options) => (await import("./cli/health.ts")).health(options as { json?: boolean; ready?: boolean }),
);

command(
  program
    .command("doctor")
    .description("check GPU, container, volume, catalog, sources, token, coordinator and engines, and say what to do")
    .option(...json)
    .addHelpText(
      "after",
      "\nExamples:\n  docker exec worker muster doctor\n  docker run --rm -e WORKER_TYPE=gpu-worker -v /data/ai-models:/models IMAGE muster doctor --json",
    ),
  async (options) => (await import("./cli/doctor.ts")).doctor(options as { json?: boolean }),
);

const run = program
  .command("run")
  .description("have the running agent do a job: chat, embed, ocr; it takes a slot like any other (each has --json)")
  .addHelpText("after", "\nExample:\n  docker exec worker muster run chat 'Why is the sky blue?'");

/** Options of every job. */
const jobCommand = (name: string) =>
  run
    .command(name)
    .option("-m, --model <name>", "model of the catalog, or its name at the source; the first that is ready otherwise")
    .option("--timeout <seconds>", "time the job may take", positive, 600)
    .option("--json", "print the whole answer as JSON");

command(
  jobCommand("chat")
    .description("one chat, printed as it comes")
    .argument("[prompt...]", "the prompt; from standard input where none is given")
    .option("--system <text>", "what the model is to be")
    .option("--image <file>", "an image to look at; may be given several times", (file, files: string[] = []) => [
      ...files,
      file,
    ])
    .option("--max-tokens <n>", "longest answer", positive)
    .addHelpText(
      "after",
      "\nExamples:\n  docker exec worker muster run chat 'Why is the sky blue?'\n  muster run chat --image cat.jpg 'What is this?'",
    ),
  async (prompt: string[], options) => (await import("./cli/run.ts")).runChat(prompt, options as object),
);

command(
  jobCommand("embed")
    .description("the vector of each text, a line of JSON each")
    .argument("[texts...]", "the texts; one from standard input where none is given")
    .addHelpText("after", "\nExample:\n  docker exec worker muster run embed 'a text' 'another'"),
  async (texts: string[], options) => (await import("./cli/run.ts")).runEmbed(texts, options as object),
);

command(
  jobCommand("ocr")
    .description("the text of images, in the order of the files")
    .argument("<files...>", "PNG, JPEG, WebP, GIF, BMP or TIFF")
    .option("--format <format>", "text, markdown or json")
    .option("--prompt <text>", "what to tell the model in place of the usual")
    .option("--schema <file>", "JSON Schema that the answer shall have; with --format json")
    .addHelpText("after", "\nExample:\n  muster run ocr scan-*.png --format markdown"),
  async (files: string[], options) => (await import("./cli/run.ts")).runOcr(files, options as object),
);

command(
  program
    .command("jobs")
    .description("show the jobs under way and the slots that are free")
    .option(...json)
    .addHelpText("after", "\nExample:\n  docker exec worker muster jobs"),
  async (options) => (await import("./cli/jobs.ts")).jobs(options as { json?: boolean }),
);

const orders = {
  pause: "take no new jobs until told to resume; what runs goes on",
  resume: "take jobs again",
  drain: "end: finish what runs, within DRAIN_TIMEOUT, take nothing new, then stop the agent",
};
for (const [name, description] of Object.entries(orders)) {
  command(
    program
      .command(name)
      .description(description)
      .option(...json)
      .addHelpText("after", `\nExample:\n  docker exec worker muster ${name}`),
    async (options) => (await import("./cli/order.ts")).order(name as keyof typeof orders, options as object),
  );
}

command(
  program
    .command("coordinator")
    .description("run the reference coordinator: an OpenAI gateway for workers, with jobs that survive")
    .option(...jsonLog)
    .option("--listen <host:port>", "address to listen on", "127.0.0.1:8400")
    .option(
      "--store <file or url>",
      "SQLite database that keeps the jobs, or nats://HOST:4222, which several gateways share; without it (and without NATS_URL) they are kept in memory only",
    )
    .option("--tls-cert <file>", "PEM file of a certificate: serve https and wss (or TLS_CERT_FILE)")
    .option("--tls-key <file>", "PEM file of its key (or TLS_KEY_FILE)")
    .option("--beat-ms <n>", "interval of the workers' beats, 20 to 600000", "10000")
    .option("--lease-ms <n>", "how long a silent worker counts as alive, and has its jobs: over 2.5 beats", "45000")
    .option("--grace-ms <n>", "how long after that its jobs still wait for it", "30000")
    .addHelpText(
      "after",
      `
Without a token only loopback is served. COORDINATOR_TOKEN (or _FILE) alone is everybody's; with ADMIN_TOKEN (or _FILE) or
CLIENT_KEYS_FILE it is the workers' alone. docs/coordinator.md tells the form of keys, and docs/configuration.md more settings.

Examples:
  muster coordinator
  COORDINATOR_TOKEN_FILE=/run/secrets/worker ADMIN_TOKEN_FILE=/run/secrets/admin CLIENT_KEYS_FILE=keys.json \\
    muster coordinator --listen 0.0.0.0:8400 --store jobs.db --tls-cert cert.pem --tls-key key.pem
  curl http://127.0.0.1:8400/v1/models -H "Authorization: Bearer $KEY"`,
    ),
  async (options) =>
    (await import("./cli/coordinator.ts")).coordinator(
      options as Parameters<typeof import("./cli/coordinator.ts").coordinator>[0],
    ),
);

groupCommands(program);

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  // Help and version that were asked for end well; everything else commander says is about wrong usage.
  process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (isJson && error.exitCode !== 0) {
    const { printError } = await import("./cli/output.ts");
    printError(usageError(error, program, args), { json: true });
  }
}
