import { Client, type Dispatcher } from "undici";
import type { Config } from "../config.ts";
import { hasSystemCode, MusterError } from "../errors.ts";
import type { JobOutcome, Slots } from "../job.ts";
import type { JobKind } from "../model.ts";
import { findAgent } from "../state.ts";
import type { AgentState, RunningJob } from "../status.ts";

/** What the agent's socket says of its jobs. */
export interface JobsView {
  state: AgentState;
  ready: boolean;
  slots: Slots;
  slotsFree: Slots;
  jobs: RunningJob[];
}

export interface LocalJob {
  kind: JobKind;
  /** Null: the first that takes such jobs. */
  model: string | null;
  input: unknown;
  stream: boolean;
  timeoutMs?: number;
}

/** Asks for a short answer; throws AGENT_NOT_RUNNING. */
export async function askSocket<T>(config: Config, method: "GET" | "POST", path: string): Promise<T> {
  await using client = await openClient(config);
  return (await ask(client, { method, path })).json() as Promise<T>;
}

/** Has the agent run a job, piece by piece where it is streamed. Throws why it failed; ends it when this process ends. */
export async function runLocalJob(
  config: Config,
  job: LocalJob,
  onChunk: (chunk: unknown) => void,
): Promise<JobOutcome> {
  await using client = await openClient(config);
  const body = await ask(client, { method: "POST", path: "/jobs", body: JSON.stringify(job) });
  for await (const line of linesOf(body)) {
    const said = JSON.parse(line) as { chunk?: unknown; outcome?: JobOutcome };
    if (!said.outcome) {
      onChunk(said.chunk);
      continue;
    }
    const { error } = said.outcome;
    if (!error) return said.outcome;
    throw new MusterError(error.code, error.message, {
      hint: "`muster status` and `muster jobs` show what is going on.",
    });
  }
  throw notRunning("it ended in the middle of the answer");
}

async function openClient(config: Config) {
  const agent = await findAgent(config.stateDir);
  if (!agent) throw notRunning("no agent runs on this state directory");
  if (!agent.socket) throw notRunning("the one that runs here has no socket; its log says why");
  // An answer takes as long as the job does.
  const client = new Client("http://agent", { socketPath: agent.socket, headersTimeout: 0, bodyTimeout: 0 });
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.destroy() });
}

async function ask(
  client: Client,
  request: Pick<Dispatcher.RequestOptions, "method" | "path" | "body">,
): Promise<Dispatcher.ResponseData["body"]> {
  try {
    return (await client.request(request)).body;
  } catch (cause) {
    if (!hasSystemCode(cause, "EACCES", "EPERM")) throw notRunning("nothing answers on its socket", cause);
    throw notRunning("its socket belongs to another user; run this as the user of the agent", cause);
  }
}

/** By hand: readline takes more for the end of a line than \n, and JSON may hold that. */
async function* linesOf(body: Dispatcher.ResponseData["body"]): AsyncGenerator<string> {
  let pieces: string[] = [];
  try {
    for await (const text of body.setEncoding("utf8") as AsyncIterable<string>) {
      const [first = "", ...others] = text.split("\n");
      pieces.push(first);
      for (const next of others) {
        yield pieces.join("");
        pieces = [next];
      }
    }
  } catch (cause) {
    throw notRunning("it ended in the middle of the answer", cause);
  }
}

function notRunning(why: string, cause?: unknown): MusterError {
  return new MusterError("AGENT_NOT_RUNNING", `The agent cannot be asked: ${why}.`, {
    hint: "Start it with `muster start`; a worker in a container is asked with `docker exec WORKER muster jobs`.",
    cause,
  });
}
