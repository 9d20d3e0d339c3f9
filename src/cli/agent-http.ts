import { request } from "undici";
import type { Config } from "../config.ts";
import { MusterError } from "../errors.ts";
import { findAgent } from "../state.ts";

/** Asks the agent that runs on this machine (in this container). Throws AGENT_NOT_RUNNING where there is none. */
export async function askAgent(config: Config, path: string): Promise<{ status: number; body: unknown }> {
  const agent = await findAgent(config.stateDir);
  const port = agent?.httpPort ?? config.httpPort;
  // 0 is any port: where it is, only the agent itself could have said.
  if (!port) throw notRunning("no agent runs on this state directory");
  const host = hostName(config.httpHost);
  try {
    const answer = await request(`http://${host}:${port}${path}`, { headersTimeout: 5_000, bodyTimeout: 5_000 });
    return { status: answer.statusCode, body: await answer.body.json() };
  } catch (cause) {
    throw notRunning(`nothing answers on port ${port}`, cause);
  }
}

function hostName(listening: string | null): string {
  if (listening === null || /^(0\.0\.0\.0|::)$/.test(listening)) return "127.0.0.1";
  return listening.includes(":") ? `[${listening}]` : listening;
}

function notRunning(why: string, cause?: unknown): MusterError {
  return new MusterError("AGENT_NOT_RUNNING", `The agent cannot be asked: ${why}.`, {
    hint: "Start it with `muster start`; a worker in a container is asked with `docker exec WORKER muster status`.",
    cause,
  });
}
