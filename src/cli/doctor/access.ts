import type { Config } from "../../config.ts";
import { toMusterError } from "../../errors.ts";
import { type AskOptions, askStart } from "../../fetch/ask.ts";
import { HttpClient } from "../../fetch/http-client.ts";
import { authorization, resolveUrl, subjectOf } from "../../fetch/sources/hub-api.ts";
import { describeRepo } from "../../fetch/sources/huggingface.ts";
import type { FileSpec, Variant } from "../../model.ts";
import { variantsOf } from "../../plan.ts";
import { type Catalog, findWorkerType } from "../../select/worker-types.ts";
import { createLayout } from "../../store/layout.ts";
import { findComplete } from "../../store/manifest.ts";
import type { Check } from "./check.ts";
import { TRY_MS } from "./knock.ts";

const name = "access";

/** Whether the token may have the gated models of this worker type, one by one: the hub shows their lists to everybody. */
export async function checkAccess(config: Config, catalog: Catalog | Error): Promise<Check[]> {
  const { workerType, mirrors, offline, hfToken } = config;
  const hub = mirrors.find((place) => place.kind === "hub");
  if (offline || !hub || catalog instanceof Error || !catalog.workerTypes.has(workerType ?? "")) return [];
  const gated = new Set(
    [...catalog.models.values()].filter((model) => model.gated).flatMap(({ variants }) => variants),
  );
  const wanted = variantsOf(findWorkerType(catalog, workerType), catalog).filter(
    (variant) => variant.source === "huggingface" && gated.has(variant),
  );
  const byRepo = new Map(wanted.map((variant) => [`${variant.location}@${variant.revision}`, variant]));
  await using client = new HttpClient({ connections: 4, stallTimeoutMs: TRY_MS });
  const endpoint = { endpoint: hub.endpoint, token: hfToken };
  return await Promise.all(
    [...byRepo.values()].map((variant) => checkModel(variant, endpoint, { client, retries: 0 }, config)),
  );
}

async function checkModel(
  variant: Variant,
  hub: { endpoint: string; token: string | null },
  options: AskOptions,
  { modelCacheDir, hfHubCache, ollamaModels }: Config,
): Promise<Check> {
  const { location, revision } = variant;
  const layout = createLayout(modelCacheDir, hfHubCache, ollamaModels);
  if (await findComplete(layout, variant)) return { name, result: "ok", found: `${location} is on the volume already` };
  try {
    const { commit, files } = await describeRepo(location, revision, hub, options);
    const file = guarded(files);
    if (file) {
      const url = resolveUrl(hub.endpoint, location, commit, file.path);
      await askStart(url, 1, subjectOf(location, hub), options, authorization(hub));
    }
    return { name, result: "ok", found: `${location} may be fetched` };
  } catch (error) {
    const { message, hint, retryable } = toMusterError(error);
    return { name, result: retryable ? "warn" : "fail", found: message, hint };
  }
}

/** The smallest file behind the gate: what describes the model stands before it. */
function guarded(files: readonly FileSpec[]): FileSpec | undefined {
  return files
    .filter(({ path, size }) => size > 0 && !/^(\.gitattributes|README\.md|LICENSE.*)$/i.test(path))
    .toSorted((a, b) => a.size - b.size)[0];
}
