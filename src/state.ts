import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { hasSystemCode } from "./errors.ts";
import { isProcessRunning, ownProcess, processIdentity } from "./process-identity.ts";
import { stateDirectory } from "./system.ts";

/** This worker's private state: who it is, and where its running agent can be reached. Never on the shared volume. */

const agentFileSchema = z.object({
  pid: z.number(),
  process: processIdentity,
  httpPort: z.number(),
  /** Unix socket on which it takes jobs and orders of this machine. */
  socket: z.string().nullable().default(null),
  workerId: z.string(),
});
export type AgentFile = z.output<typeof agentFileSchema>;

export interface State {
  folder: string;
  workerId: string;
  /** Another agent runs on this state directory, so that this one goes by a name of its own until it ends. */
  temporaryIdentity: boolean;
  /** Lets `muster status`, `muster health` and `muster run` find this agent. */
  publish(httpPort: number, socket?: string | null): Promise<void>;
  close(): Promise<void>;
}

export async function openState(configured: { stateDir: string | null; workerId: string | null }): Promise<State> {
  const folder = await stateDirectory(configured.stateDir);
  const other = await findAgent(configured.stateDir);
  const temporaryIdentity = other !== null && configured.workerId === null;
  const workerId = configured.workerId ?? (temporaryIdentity ? newWorkerId() : await ownWorkerId(folder));
  const file = join(folder, "agent.json");
  let published = false;
  return {
    folder,
    workerId,
    temporaryIdentity,
    async publish(httpPort, socket = null) {
      // The first agent stays the one that `status` finds, unless this one takes its name over.
      if (temporaryIdentity) return;
      const content: AgentFile = { pid: process.pid, process: await ownProcess(), httpPort, socket, workerId };
      await writeFile(file, JSON.stringify(content));
      published = true;
    },
    async close() {
      if (!published) return;
      const found = await findAgent(folder);
      if (found?.pid === process.pid) await rm(file, { force: true });
    },
  };
}

/** The agent that runs on this machine's state directory, or null. */
export async function findAgent(configured: string | null): Promise<AgentFile | null> {
  try {
    const text = await readFile(join(await stateDirectory(configured), "agent.json"), "utf8");
    const found = agentFileSchema.parse(JSON.parse(text));
    return (await isProcessRunning(found.process)) ? found : null;
  } catch {
    return null;
  }
}

async function ownWorkerId(folder: string): Promise<string> {
  const file = join(folder, "worker-id");
  const known = await readFile(file, "utf8").catch((error: unknown) => {
    if (hasSystemCode(error, "ENOENT")) return "";
    throw error;
  });
  if (known.trim()) return known.trim();
  const made = newWorkerId();
  const beside = `${file}.${made}`;
  await writeFile(beside, `${made}\n`, { flush: true });
  await rename(beside, file);
  return made;
}

function newWorkerId(): string {
  return `worker-${crypto.randomUUID().slice(0, 13)}`;
}
