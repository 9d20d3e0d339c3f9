import { startOllamaEngine } from "../../fakes/ollama-engine.ts";

/** What stands in for the program `ollama` in images that tests build: `ollama serve`, on OLLAMA_HOST. */

const [host = "127.0.0.1", port = "11434"] = (process.env.OLLAMA_HOST ?? "").split(":");
if (process.argv[2] !== "serve" || host !== "127.0.0.1")
  throw new Error(`not faked: ${process.argv.slice(2)} on ${host}`);
startOllamaEngine(Number(port)).then(
  ({ url }) => say(`Listening on ${url}, models in ${process.env.OLLAMA_MODELS}`),
  (error: unknown) => {
    say(`${error}`);
    process.exitCode = 1;
  },
);
function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

process.once("SIGTERM", () => process.exit(0));
