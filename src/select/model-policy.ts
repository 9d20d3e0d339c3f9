import { posix } from "node:path";
import { MusterError } from "../errors.ts";
import { parseReference, showReference } from "../model-reference.ts";
import type { ModelPolicy } from "../settings/policy.ts";
import { catalogModel, isInCatalog } from "./named-models.ts";
import type { Catalog } from "./worker-types.ts";

/**
 * Why a coordinator may not ask for that model, or null where it may. What the catalog has is always allowed; folders
 * outside of it never are, nor hosts that an Ollama name brings along, unless a pattern names them.
 */
export function policyRefusal(reference: string, policy: ModelPolicy, catalog: Catalog): MusterError | null {
  if (catalogModel(reference, catalog)) return null;
  const named = parseReference(reference);
  if (!named) return isFolder(reference) ? refusal(reference, "folders come from the catalog only", policy) : null;
  if (isInCatalog(named, catalog)) return null;
  if (policy.mode === "catalog") return refusal(reference, "it is not in the catalog", policy);
  const name = showReference(named);
  if (policy.patterns.some((pattern) => posix.matchesGlob(name, pattern))) return null;
  if (policy.mode === "patterns") return refusal(reference, "no pattern of MODEL_POLICY_PATTERNS matches it", policy);
  return named.host === null ? null : refusal(reference, "it names a host of its own", policy);
}

function isFolder(reference: string): boolean {
  return /^(\/|\.|~|path:|file:)/.test(reference);
}

function refusal(reference: string, why: string, { mode }: ModelPolicy): MusterError {
  return new MusterError(
    "MODEL_NOT_ALLOWED",
    `MODEL_POLICY=${mode} does not let a coordinator ask for ${JSON.stringify(reference.slice(0, 200))}: ${why}.`,
    {
      hint: "Add the model to the catalog (WORKER_TYPES_OVERLAY), or set MODEL_POLICY=patterns and a pattern such as MODEL_POLICY_PATTERNS='hf:acme/*', then start the worker again.",
    },
  );
}
