import { once } from "node:events";
import { readdir, rm } from "node:fs/promises";
import type { RequestListener, ServerResponse } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import type { Logger } from "../log.ts";
import { nodeHttp } from "../node-http.ts";
import { redactData } from "../redact.ts";
import type { StatusBoard } from "../status.ts";
import type { ServedModel } from "./engines/open-engines.ts";
import type { JobServer } from "./job-server.ts";
import { serveLocalJob } from "./local-job.ts";
import { warmModel } from "./warm-model.ts";

const COMMANDS = ["pause", "resume", "drain"] as const;
export type LocalCommand = (typeof COMMANDS)[number];

export interface LocalApiOptions {
  /** Private folder of this worker. */
  folder: string;
  jobs: JobServer;
  board: StatusBoard;
  log: Logger;
  /** By its id, or its name at its source. */
  engineOf: (name: string) => ServedModel | null;
  onCommand: (command: LocalCommand) => void;
}

export interface LocalApi {
  /** The socket, or null where none could be made, which is warned of. */
  path: string | null;
  close(): Promise<void>;
}

/**
 * What `muster run`, `jobs`, `warm`, `pause`, `resume` and `drain` ask: HTTP on a Unix socket that only this user may open.
 * GET /jobs; POST /jobs, which runs one (see {@link serveLocalJob}); POST /warm?model=NAME, which has an
 * engine load one; POST /pause, /resume and /drain.
 */
export async function startLocalApi(options: LocalApiOptions): Promise<LocalApi> {
  const { folder, jobs, board, log, engineOf, onCommand } = options;
  const answer: RequestListener = (request, response) => {
    const asked = `${request.method} ${request.url}`;
    const command = COMMANDS.find((name) => asked === `POST /${name}`);
    if (command) {
      onCommand(command);
      return send(response, 202, { state: board.current.state });
    }
    const [, model] = /^POST \/warm\?model=([^&]+)$/.exec(asked) ?? [];
    if (model !== undefined) {
      const gone = new AbortController();
      response.on("close", () => gone.abort());
      return void warmModel(decodeURIComponent(model), engineOf, gone.signal).then((told) => send(response, 200, told));
    }
    if (asked === "POST /jobs") return void serveLocalJob(jobs, { request, response, log });
    if (asked !== "GET /jobs") return send(response, 404, { error: "not found" });
    const { state, ready, jobs: running } = board.current;
    send(response, 200, { state, ready, slots: jobs.slots, slotsFree: jobs.slotsFree, jobs: running });
  };
  const server = nodeHttp().createServer(answer);
  const path = join(folder, `agent-${crypto.randomUUID().slice(0, 8)}.sock`);
  await removeAbandoned(folder);
  try {
    // The socket is made at once, and must not be anybody else's for a moment.
    const before = process.umask(0o177);
    try {
      server.listen(path);
    } finally {
      process.umask(before);
    }
    await once(server, "listening");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    log.warn(`There is no socket for \`muster run\` and \`muster jobs\`: ${path} cannot be made (${code})`);
    return { path: null, close: async () => undefined };
  }
  // Who only listens does not keep the agent from ending.
  server.unref();
  return {
    path,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(redactData(body)));
}

/** Sockets that agents left behind which were killed: nobody answers there. */
async function removeAbandoned(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => /^agent-\w{8}\.sock$/.test(name));
  await Promise.all(
    names.map(async (name) => {
      const path = join(folder, name);
      const socket = connect(path);
      const code = await once(socket, "connect").then(
        () => null,
        (error: NodeJS.ErrnoException) => error.code,
      );
      socket.destroy();
      if (code === "ECONNREFUSED") await rm(path, { force: true });
    }),
  );
}
