import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { json } from "node:stream/consumers";
import type { Config } from "../config.ts";
import { MusterError } from "../errors.ts";
import { nodeHttp } from "../node-http.ts";
import { findAgent } from "../state.ts";

const TIMEOUT_MS = 5_000;

/** Asks the agent that runs on this machine (in this container). Throws AGENT_NOT_RUNNING where there is none. */
export async function askAgent(config: Config, path: string): Promise<{ status: number; body: unknown }> {
  const agent = await findAgent(config.stateDir);
  const port = agent?.httpPort ?? config.httpPort;
  // 0 is any port: where it is, only the agent itself could have said.
  if (!port) throw notRunning("no agent runs on this state directory");
  const host = hostName(config.httpHost);
  try {
    // Health checks come every few seconds, and a client library takes half of their time to load.
    const asked = nodeHttp().get(`http://${host}:${port}${path}`, {
      agent: false,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const [answer] = (await once(asked, "response")) as [IncomingMessage];
    return { status: answer.statusCode ?? 0, body: await json(answer) };
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
