import type { CoordinatorPayload } from "../../protocol.ts";
import type { Answer, Call } from "./answer.ts";
import { apiError, notFound } from "./api-error.ts";

export const COMMANDS = {
  drain: { t: "drain" },
  pause: { t: "pause" },
  resume: { t: "resume" },
  sync: { t: "models.sync" },
} as const satisfies Record<string, CoordinatorPayload>;

/** `GET /v1/workers` */
export function listWorkers({ gateway }: Call): Answer {
  return { status: 200, body: { object: "list", data: gateway.registry.list() } };
}

/** `GET /v1/workers/{id}` */
export function showWorker({ gateway, params }: Call): Answer {
  const worker = gateway.registry.get(params.id!);
  return worker ? { status: 200, body: worker } : notFound(`There is no worker ${params.id}.`);
}

/** `POST /v1/workers/{id}/{command}` */
export async function commandWorker({ gateway, params: { id = "", command = "" } }: Call): Promise<Answer> {
  if (!gateway.registry.get(id)) return notFound(`There is no worker ${id}.`);
  if (!isCommand(command))
    return notFound(`There is no command ${command}; there are ${Object.keys(COMMANDS).join(", ")}.`);
  return (await gateway.registry.send(id, COMMANDS[command]))
    ? { status: 202, body: { object: "worker.command", id, command } }
    : { status: 409, body: apiError("worker_disconnected", `The worker ${id} is not connected.`) };
}

function isCommand(name: string): name is keyof typeof COMMANDS {
  return Object.hasOwn(COMMANDS, name);
}
