import { type ContentPolicy, licensePattern } from "../content-policy.ts";
import { setting } from "./setting.ts";
import { choice, text } from "./values.ts";

/** What a coordinator may ask for beyond the catalog. */
export interface ModelPolicy {
  mode: "catalog" | "patterns" | "any";
  /** Globs for references. */
  patterns: string[];
}

/** What may be asked for, and what may be fetched and served whoever asks. */
export const policySettings = {
  MODEL_POLICY: setting("Worker", choice("catalog", "patterns", "any"), {
    description:
      "Which models a coordinator may ask for at run time: those of the catalog, also those that match MODEL_POLICY_PATTERNS, or any of the hub, the registry and the object store that this worker uses.",
    allowed: "catalog, patterns or any",
    otherwise: "`catalog`",
  }),
  MODEL_POLICY_PATTERNS: setting("Worker", text, {
    description:
      "Globs for references such as `hf:acme/*`, `ollama:qwen*`, `s3://models/prod/**`; `*` ends at a slash, `**` does not.",
    allowed: "globs, separated by commas",
    otherwise: "none; MODEL_POLICY=patterns needs them",
  }),
  ALLOWED_LICENSES: setting("Worker", text, {
    description:
      "Licences of models that this worker may use, as the catalog, the model's card or Ollama's licence layer has them: ids of SPDX or the hub, in any case, or globs such as `llama3*`. `unknown` stands for models of which nobody says any.",
    allowed: "ids or globs, separated by commas",
    otherwise: "any licence",
  }),
  LICENSE_POLICY: setting("Worker", choice("refuse", "warn"), {
    description: "Whether models under other licences are refused, or only warned of.",
    allowed: "refuse or warn; with ALLOWED_LICENSES",
    otherwise: "`refuse`",
  }),
  PICKLE_POLICY: setting("Worker", choice("catalog", "refuse", "allow"), {
    description:
      "Pickles, whose loading can run code: where the catalog's `allowPickle` lets them in, nowhere (also not those that are on the volume), or everywhere.",
    allowed: "catalog, refuse or allow",
    otherwise: "`catalog`",
  }),
};

interface Given {
  MODEL_POLICY?: ModelPolicy["mode"];
  MODEL_POLICY_PATTERNS?: string;
  ALLOWED_LICENSES?: string;
  LICENSE_POLICY?: "refuse" | "warn";
  PICKLE_POLICY?: ContentPolicy["pickles"];
}

export function contentPolicy(given: Given, problems: string[]): ContentPolicy {
  const { ALLOWED_LICENSES = "", LICENSE_POLICY, PICKLE_POLICY } = given;
  const allowed = ALLOWED_LICENSES.split(",").map(licensePattern).filter(Boolean);
  if (allowed.length === 0 && (LICENSE_POLICY || ALLOWED_LICENSES)) {
    const found = ALLOWED_LICENSES
      ? `ALLOWED_LICENSES is ${JSON.stringify(ALLOWED_LICENSES)}, which names no licence`
      : "LICENSE_POLICY is set, and ALLOWED_LICENSES is not";
    problems.push(`${found}; set it to ids such as mit,apache-2.0.`);
  }
  return {
    licenses: allowed.length > 0 ? { allowed, refuse: LICENSE_POLICY !== "warn" } : null,
    pickles: PICKLE_POLICY ?? "catalog",
  };
}

export function modelPolicy({ MODEL_POLICY, MODEL_POLICY_PATTERNS }: Given, problems: string[]): ModelPolicy {
  const patterns = (MODEL_POLICY_PATTERNS ?? "").split(",").map((pattern) => pattern.trim());
  const given = patterns.filter((pattern) => pattern !== "");
  if (MODEL_POLICY === "patterns" && given.length === 0)
    problems.push(
      'MODEL_POLICY is "patterns" and MODEL_POLICY_PATTERNS is not set; set it to globs such as hf:acme/*.',
    );
  return { mode: MODEL_POLICY ?? "catalog", patterns: given };
}
