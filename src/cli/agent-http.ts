import { request } from "undici";
import type { Config } from "../config.ts";
import { MusterError } from "../errors.ts";
import { findAgent } from "../state.ts";

/** Asks the agent that runs on this machine (in this container). Throws AGENT_NOT_RUNNING where there is none. */
export async function askAgent(config: Config, path: string): Promise<{ status: number; body: unknown }> {
  const agent = await findAgent(config.stateDir);
  const port = agent?.httpPort ?? config.httpPort;
  if (port === null) throw notRunning("no agent runs on this state directory");
  const host = config.httpHost && !/^(0\.0\.0\.0|::)$/.test(config.httpHost) ? config.httpHost : "127.0.0.1";
  try {
    const answer = await request(`http://${host}:${port}${path}`, { headersTimeout: 5_000, bodyTimeout: 5_000 });
    return { status: answer.statusCode, body: await answer.body.json() };
  } catch (cause) {
    throw notRunning(`nothing answers on port ${port}`, cause);
  }
}

function notRunning(why: string, cause?: unknown): MusterError {
  return new MusterError("AGENT_NOT_RUNNING", `The agent cannot be asked: ${why}.`, {
    hint: "Start it with `muster start`; a worker in a container is asked with `docker exec WORKER muster status`.",
    cause,
  });
}
