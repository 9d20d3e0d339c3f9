import type { ModelState } from "../../model.ts";
import { namesOf } from "../jobs/fleet.ts";
import type { ModelView } from "../models/model-view.ts";
import type { WorkerView } from "../workers/worker-view.ts";
import type { Answer, Call } from "./answer.ts";

/** A model of the fleet in OpenAI's form, with what is known of it beyond. */
interface ServedModel {
  id: string;
  object: "model";
  /** Seconds of the clock. */
  created: number;
  owned_by: string;
  muster: {
    /** The best state that a worker has it in. */
    state: ModelState;
    /** Workers that have it ready. */
    ready: number;
    workers: number;
    /** Other names under which it is found. */
    aliases: string[];
  };
}

/** Best first. */
const BY_READINESS: ModelState[] = ["ready", "loading", "stored", "fetching", "requested", "failed"];

/** `GET /v1/models`: those that the workers have, or are fetching. */
export function listModels(call: Call): Answer {
  return { status: 200, body: { object: "list", data: modelsFor(call) } };
}

/** What OpenAI's form has of one model; also of one that no worker has yet. */
export function servedModel(call: Call, { id, createdAt }: Pick<ModelView, "id" | "createdAt">): ServedModel {
  const served = modelsFor(call).find((model) => model.id === id);
  if (served) return served;
  const model = newModel(id, { registeredAt: createdAt ?? new Date().toISOString() });
  return { ...model, muster: { ...model.muster, state: "requested" } };
}

function modelsFor({ gateway, caller }: Call): ServedModel[] {
  const models = new Map<string, ServedModel>();
  for (const worker of gateway.registry.list()) {
    for (const report of worker.models) {
      if (!caller.mayUse(namesOf(report))) continue;
      const state = stateAt(worker, report.state);
      const model = models.get(report.model) ?? newModel(report.model, worker);
      const { muster } = model;
      if (BY_READINESS.indexOf(state) < BY_READINESS.indexOf(muster.state)) muster.state = state;
      muster.workers += 1;
      muster.ready += Number(state === "ready");
      muster.aliases = [...new Set([...muster.aliases, ...namesOf(report).slice(1)])];
      models.set(report.model, model);
    }
  }
  return [...models.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** A model that is loaded at a worker that is away is stored there, and no more. */
function stateAt({ connected }: WorkerView, state: ModelState): ModelState {
  return !connected && (state === "ready" || state === "loading") ? "stored" : state;
}

function newModel(id: string, { registeredAt }: Pick<WorkerView, "registeredAt">): ServedModel {
  const created = Math.floor(Date.parse(registeredAt) / 1000);
  const muster = { state: "failed" as const, ready: 0, workers: 0, aliases: [] };
  return { id, object: "model", created, owned_by: "muster", muster };
}
