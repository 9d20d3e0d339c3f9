import type { Config } from "../../config.ts";
import type { Engine } from "../../model.ts";
import { withoutCredentials } from "../../url-credentials.ts";
import type { Check } from "./check.ts";
import { answering, direct, knock } from "./knock.ts";

/** Each engine that is configured: whether it answers, and takes the key. */
export async function checkEngines({
  engineUrls,
  engineKeys,
}: Pick<Config, "engineUrls" | "engineKeys">): Promise<Check[]> {
  const urls = Object.entries(engineUrls).flatMap(([kind, url]) => (url ? [{ kind: kind as Engine, url }] : []));
  return Promise.all(urls.map(({ kind, url }) => checkEngine(kind, url, kind === "ollama" ? null : engineKeys[kind])));
}

async function checkEngine(kind: Engine, url: string, key: string | null): Promise<Check> {
  const { href, headers } = withoutCredentials(url);
  const path = kind === "ollama" ? "/api/version" : "/v1/models";
  const answer = await knock(`${href.replace(/\/v1$/, "")}${path}`, {
    dispatcher: direct(),
    headers: { ...headers, ...(key && { authorization: `Bearer ${key}` }) },
  });
  const setting = kind.toUpperCase();
  if ("error" in answer)
    return {
      name: kind,
      result: "fail",
      found: answer.error.message,
      hint: `Check ${setting}_URL, and that the engine runs.`,
    };
  if (answer.status === 401 || answer.status === 403) {
    const found = `${href} refuses ${key ? "the key" : "who has no key"} (${answer.status})`;
    const where = kind === "ollama" ? "the credentials in OLLAMA_URL" : `${setting}_API_KEY or ${setting}_API_KEY_FILE`;
    return { name: kind, result: "fail", found, hint: `Set ${where} to what it asks for.` };
  }
  if (answer.status >= 500) {
    const found = `${href} answers with status ${answer.status}`;
    return { name: kind, result: "warn", found, hint: "It may still be loading; its own log tells." };
  }
  return answering(kind, href, answer);
}
