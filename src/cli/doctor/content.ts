import type { Config } from "../../config.ts";
import { licenseObjection } from "../../content-policy.ts";
import { isPickle } from "../../fetch/choose-files.ts";
import type { StoredModel } from "../../model.ts";
import { createLayout } from "../../store/layout.ts";
import { listManifests } from "../../store/manifest.ts";
import type { Check } from "./check.ts";

/** What stands on the volume against the operator's policy: licences, and files whose loading can run code. */
export async function checkContent(config: Config): Promise<Check[]> {
  const layout = createLayout(config.modelCacheDir, config.hfHubCache, config.ollamaModels);
  const models = await listManifests(layout);
  return [...pickleCheck(models, config), ...licenseCheck(models, config)];
}

function pickleCheck(models: readonly StoredModel[], { contentPolicy }: Config): Check[] {
  const found = models.filter(({ files }) => files.some(({ path }) => isPickle(path)));
  if (found.length === 0) return [];
  const names = found.map(({ location }) => location).join(", ");
  const isRefused = contentPolicy.pickles === "refuse";
  return [
    {
      name: "pickles",
      result: isRefused ? "fail" : "warn",
      found: `${names}: loading these can run code${isRefused ? ", and PICKLE_POLICY=refuse lets none of them be used" : ""}`,
      hint: "Take revisions with safetensors in the catalog, then `muster remove` them; `muster show MODEL` names the files.",
    },
  ];
}

function licenseCheck(models: readonly StoredModel[], { contentPolicy: { licenses } }: Config): Check[] {
  if (!licenses) return [];
  const objections = models.flatMap(
    ({ location, license }) => licenseObjection(location, { declared: license, found: null }, licenses) ?? [],
  );
  if (objections.length === 0)
    return [{ name: "licences", result: "ok", found: `all that is stored is under ${licenses.allowed.join(", ")}` }];
  return objections.map(({ message, hint }) => ({
    name: "licences",
    result: licenses.refuse ? "fail" : "warn",
    found: message,
    hint,
  }));
}
