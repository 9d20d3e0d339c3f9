import { type ContentPolicy, licenseObjection } from "../content-policy.ts";
import type { Finding } from "./finding.ts";
import type { CatalogModel } from "./worker-types.ts";

/** What a model declares that the operator's policy is against. What only its source says is not known here. */
export function checkPolicy(model: CatalogModel, { licenses, pickles }: ContentPolicy): Finding[] {
  const path = ["models", model.id];
  const objection =
    model.license === null ? null : licenseObjection(model.id, { declared: model.license, found: null }, licenses);
  const found = objection?.message.replace(/\.$/, "") ?? "";
  const ofLicense: Finding[] = objection
    ? [{ level: "warn", path: [...path, "license"], found, hint: "Allow the licence, or remove the model." }]
    : [];
  const ofPickles = model.variants.flatMap(({ allowPickle }, index): Finding[] => {
    if (!allowPickle || pickles !== "refuse") return [];
    const hint = "Take a revision with safetensors, or remove the variant.";
    const why = "allows pickles, and PICKLE_POLICY=refuse lets none in";
    return [{ level: "warn", path: [...path, "variants", index, "allowPickle"], found: why, hint }];
  });
  return [...ofLicense, ...ofPickles];
}
