import { readdir } from "node:fs/promises";
import * as z from "zod";
import type { Config } from "../../config.ts";
import { toMusterError } from "../../errors.ts";
import { createDispatcher } from "../../fetch/dispatcher.ts";
import { HttpClient } from "../../fetch/http-client.ts";
import { bucketOpener } from "../../fetch/s3/open-bucket.ts";
import { type BucketPlace, type FolderPlace, showPlace } from "../../place.ts";
import type { Check } from "./check.ts";
import { answering, knock, TRY_MS } from "./knock.ts";

/** Tries each place of HF_ENDPOINT. */
export async function checkMirrors(config: Config): Promise<Check[]> {
  if (config.offline) return [{ name: "hub", result: "ok", found: "not asked (HF_HUB_OFFLINE)" }];
  return Promise.all(
    config.mirrors.map((place) => {
      if (place.kind === "hub") return checkHub(place.endpoint, config.hfToken);
      return place.kind === "s3" ? checkBucket(place, config) : checkFolder(place);
    }),
  );
}

async function checkHub(endpoint: string, hfToken: string | null): Promise<Check> {
  const name = "hub";
  const answer = await knock(`${endpoint}/api/whoami-v2`, {
    headers: hfToken ? { authorization: `Bearer ${hfToken}` } : {},
    dispatcher: createDispatcher({ connections: 1, stallTimeoutMs: TRY_MS }),
  });
  if ("error" in answer) return { name, result: "fail", found: answer.error.message, hint: answer.error.hint };
  if (hfToken && answer.status === 401) {
    const found = `${endpoint} does not accept the token`;
    const hint = "Set HF_TOKEN or HF_TOKEN_FILE to a valid token, or unset it.";
    return { name, result: "fail", found, hint };
  }
  if (answer.status >= 500) {
    const found = `${endpoint} answers with status ${answer.status}`;
    return { name, result: "warn", found, hint: "See the hub's status page, or set HF_ENDPOINT to a mirror." };
  }
  const check = answering(name, endpoint, answer);
  return { ...check, found: `${check.found}; ${hfToken ? tokenWords(answer.text) : "no token is set"}` };
}

const whoAmI = z.object({
  name: z.string(),
  auth: z
    .object({ accessToken: z.object({ role: z.string() }).partial() })
    .partial()
    .optional(),
});

/** Whose token it is and what it may; mirrors do not always tell. */
function tokenWords(text: string): string {
  try {
    const { name, auth } = whoAmI.parse(JSON.parse(text));
    return `the token of ${name}${auth?.accessToken?.role ? ` (${auth.accessToken.role})` : ""} is set`;
  } catch {
    return "a token is set";
  }
}

async function checkBucket(place: BucketPlace, { s3 }: Config): Promise<Check> {
  const name = showPlace(place);
  await using client = new HttpClient({ connections: 1, stallTimeoutMs: TRY_MS });
  const startedAt = performance.now();
  try {
    const bucket = await bucketOpener(s3, client)(place.bucket);
    const prefix = [place.prefix, "base-models/"].filter(Boolean).join("/");
    const found = await bucket.list(prefix, 1, { retries: 0 });
    const ms = Math.round(performance.now() - startedAt);
    if (found.length > 0) return answering("mirror", name, { latencyMs: ms });
    const hint = `Fill it with \`muster push MODEL ${name}\`.`;
    return { name: "mirror", result: "warn", found: `${name} answers in ${ms} ms and holds no models`, hint };
  } catch (error) {
    const { message, hint } = toMusterError(error);
    return { name: "mirror", result: "fail", found: message, hint };
  }
}

async function checkFolder({ path }: FolderPlace): Promise<Check> {
  try {
    const entries = await readdir(path);
    const known = ["base-models", "huggingface", "hub"].filter((name) => entries.includes(name));
    const cached = entries.some((name) => name.startsWith("models--"));
    if (known.length > 0 || cached)
      return { name: "mirror", result: "ok", found: `${path} has ${cached ? "a hub cache" : known.join(", ")}` };
    const hint = "Fill it with `muster push MODEL FOLDER`, or mount a volume that has models there.";
    return { name: "mirror", result: "warn", found: `${path} holds no models`, hint };
  } catch (error) {
    const found = `${path} cannot be read (${(error as NodeJS.ErrnoException).code})`;
    return { name: "mirror", result: "fail", found, hint: "Mount the folder, or correct HF_ENDPOINT." };
  }
}
