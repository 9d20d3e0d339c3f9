import { startOpenAiEngine } from "../../fakes/openai-engine.ts";

/** What stands in for the program `vllm` in images that tests build: `vllm serve [MODEL] … --port PORT`. */

const [command, ...args] = process.argv.slice(2);
const option = (name: string) => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined);
if (command !== "serve" || !option("--port")) throw new Error(`not faked: ${process.argv.slice(2)}`);
const served = option("--served-model-name") ?? args.find((argument) => !argument.startsWith("-"));
startOpenAiEngine(Number(option("--port"))).then(
  (engine) => {
    // Without a name it is whatever it is asked for.
    engine.models = args[0]?.startsWith("-") || !served ? null : [served];
    say(`Listening on ${engine.url}, called with ${args.join(" ")}`);
  },
  (error: unknown) => {
    say(`${error}`);
    process.exitCode = 1;
  },
);
function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

process.once("SIGTERM", () => process.exit(0));
