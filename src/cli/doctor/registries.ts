import type { Config } from "../../config.ts";
import { createDispatcher } from "../../fetch/dispatcher.ts";
import type { Check } from "./check.ts";
import { answering, knock, TRY_MS } from "./knock.ts";

/** Any HTTP answer will do: what a registry has, only its models' names tell. */
export async function checkRegistries(config: Config): Promise<Check[]> {
  if (config.offline || config.ollamaStore === "server") return [];
  return Promise.all(
    config.ollamaRegistries.map(async (registry): Promise<Check> => {
      const answer = await knock(`${registry}/v2/`, {
        dispatcher: createDispatcher({ connections: 1, stallTimeoutMs: TRY_MS }),
      });
      if ("error" in answer)
        return { name: "registry", result: "warn", found: answer.error.message, hint: answer.error.hint };
      if (answer.status < 500) return answering("registry", registry, answer);
      const found = `${registry} answers with status ${answer.status}`;
      return { name: "registry", result: "warn", found, hint: "Try later, or set OLLAMA_REGISTRY to a mirror." };
    }),
  );
}
