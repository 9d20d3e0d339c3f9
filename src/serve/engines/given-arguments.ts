import { basename } from "node:path";

/** What an operator wrote behind `muster start --`, as far as it concerns which arguments may still be added. Pure. */

export interface VllmCommand {
  /** Everything up to what starts the server: `vllm serve`, or Python with the module of the server. */
  head: [string, ...string[]];
  args: string[];
  /** How the model is named: `vllm serve` takes it as a word of its own, the module by --model. */
  modelBy: "position" | "flag";
}

const MODULE = /^vllm\.entrypoints\.openai\.api_server$/;

/** Null where it does not start vLLM in a way that can be recognized (a script around it, say). */
export function readVllmCommand(command: readonly string[]): VllmCommand | null {
  for (const [index, word] of command.entries()) {
    const next = command[index + 1] ?? "";
    const byName = basename(word) === "vllm" && next === "serve";
    const byModule = word === "-m" && MODULE.test(next);
    if (!byName && !byModule) continue;
    const [file = "", ...rest] = command.slice(0, index + 2);
    return { head: [file, ...rest], args: command.slice(index + 2), modelBy: byName ? "position" : "flag" };
  }
  return null;
}

export function isOllamaCommand(command: readonly string[]): boolean {
  return command.some((word, index) => basename(word) === "ollama" && command[index + 1] === "serve");
}

const SHORT: Record<string, string> = {
  "-q": "quantization",
  "-tp": "tensor-parallel-size",
  "-pp": "pipeline-parallel-size",
  "-dp": "data-parallel-size",
};
/** Flags of vLLM that take no value, so that a word behind one is not its value; and those that take several. */
const WITHOUT_VALUE =
  /^(no-|enable-|disable-|trust-remote-code$|enforce-eager$|fully-sharded-loras$|async-scheduling$)/;
const LISTS = /^(lora-modules|served-model-name|middleware|api-key|cudagraph-capture-sizes)$/;

export interface GivenArguments {
  /** The model as he names it; null where he leaves it to the plan. */
  model: string | null;
  /** Value of a flag in any of its forms; empty for one without a value, null for one that is not there. */
  valueOf(name: string): string | null;
}

/** vLLM takes `--max-model-len 1`, `--max-model-len=1` and `--max_model_len 1` for the same. */
export function readArguments(args: readonly string[]): GivenArguments {
  const flags = new Map<string, string>();
  let model: string | null = null;
  /** The flag whose values words are. */
  let open: string | null = null;
  for (const word of args) {
    const [, dashed, assigned] = /^(--?[A-Za-z][^=]*)(?:=(.*))?$/s.exec(word) ?? [];
    if (dashed !== undefined) {
      const name = SHORT[dashed] ?? dashed.replace(/^--?/, "").replaceAll("_", "-");
      flags.set(name, assigned ?? "");
      open = assigned === undefined && !WITHOUT_VALUE.test(name) ? name : null;
    } else if (open === null) {
      model ??= word;
    } else {
      if (flags.get(open) === "") flags.set(open, word);
      if (!LISTS.test(open)) open = null;
    }
  }
  return { model: flags.get("model") ?? model, valueOf: (name) => flags.get(name) ?? null };
}
