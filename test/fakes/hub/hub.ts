import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { answer } from "./answer.ts";
import { answerCdn } from "./cdn-routes.ts";
import type { HubState, TokenSpec } from "./exchange.ts";
import { type Faults, takeFault } from "./faults.ts";
import { answerHub } from "./hub-routes.ts";
import { type Files, type RepoSpec, Repository } from "./repository.ts";
import { type BytesFilter, type HostName, type HubRequest, RequestLog } from "./request-log.ts";
import { UrlSigner } from "./signing.ts";

export type { FileSource } from "./content.ts";
export type { TokenSpec } from "./exchange.ts";
export type { FaultSettings, Faults, When } from "./faults.ts";
export type { Files, RepoSpec, RevisionSpec } from "./repository.ts";
export type { BytesFilter, HostName, HubRequest } from "./request-log.ts";

export interface HubOptions {
  repos?: RepoSpec[];
  tokens?: Record<string, TokenSpec>;
  /** Entries on a page of the tree listing; 1000, as on the Hub. */
  pageSize?: number;
  /** Fixed ports, for demonstrations; free ones otherwise. */
  port?: number;
  cdnPort?: number;
  /** The host names in `url` and `cdnUrl`. They must differ: clients keep the token on one host name. */
  hubName?: string;
  cdnName?: string;
}

export interface Hub extends AsyncDisposable {
  readonly url: string;
  readonly cdnUrl: string;
  readonly tokens: Record<string, TokenSpec>;
  /** Mutable; `reset` empties it. */
  readonly faults: Faults;
  /** In order of arrival. */
  readonly requests: HubRequest[];
  /** Awaited before each request is answered. */
  onRequest: ((request: HubRequest) => void | Promise<void>) | undefined;
  addRepo(spec: RepoSpec): { commit: string };
  /** A new commit on `branch` (main): the given files over the present ones, `null` removes. */
  updateRepo(id: string, files: Files, branch?: string): { commit: string };
  /** Makes or moves a branch, a tag or a refs/pr/N to a commit. */
  setRevision(id: string, name: string, commit: string, kind?: "branch" | "tag"): void;
  removeRepo(id: string): void;
  /** Body bytes of file content handed out since the last `reset`. */
  bytesServed(filter?: BytesFilter): number;
  /** The most requests under way at one moment since the last `reset`. */
  peakRequests(host: HostName): number;
  /** Forgets requests, faults and the hook; repositories stay. */
  reset(): void;
  close(): Promise<void>;
}

/** A Hugging Face hub and its CDN on real sockets, after the contract. */
export async function startHub(options: HubOptions = {}): Promise<Hub> {
  const state: HubState = {
    repos: new Map(),
    tokens: options.tokens ?? {},
    faults: {},
    log: new RequestLog(),
    signer: new UrlSigner(),
    cdnUrl: "",
    pageSize: options.pageSize ?? 1000,
    onRequest: undefined,
  };
  const hubServer = await listen(state, "hub", options.port);
  const cdnServer = await listen(state, "cdn", options.cdnPort);
  state.cdnUrl = `http://${options.cdnName ?? "localhost"}:${portOf(cdnServer)}`;

  const repoOf = (id: string): Repository => {
    const repo = state.repos.get(id);
    if (!repo) throw new Error(`no repository ${id} on this hub`);
    return repo;
  };

  const hub: Hub = {
    url: `http://${options.hubName ?? "127.0.0.1"}:${portOf(hubServer)}`,
    cdnUrl: state.cdnUrl,
    tokens: state.tokens,
    faults: state.faults,
    requests: state.log.requests,
    get onRequest() {
      return state.onRequest;
    },
    set onRequest(hook) {
      state.onRequest = hook;
    },
    addRepo(spec) {
      const repo = new Repository(spec);
      state.repos.set(spec.id, repo);
      return { commit: repo.resolve("main")!.id };
    },
    updateRepo: (id, files, branch) => ({ commit: repoOf(id).commit(files, branch).id }),
    setRevision: (id, name, commit, kind) => repoOf(id).point(name, commit, kind),
    removeRepo: (id) => void state.repos.delete(id),
    bytesServed: (filter) => state.log.bytesServed(filter),
    peakRequests: (host) => state.log.peak(host),
    reset() {
      for (const name of Object.keys(state.faults)) delete state.faults[name as keyof Faults];
      state.onRequest = undefined;
      state.log.clear();
    },
    async close() {
      await Promise.all([hubServer, cdnServer].map(shut));
    },
    [Symbol.asyncDispose]: () => hub.close(),
  };
  for (const repo of options.repos ?? []) hub.addRepo(repo);
  return hub;
}

async function listen(state: HubState, host: HostName, port = 0): Promise<Server> {
  const route = host === "hub" ? answerHub : answerCdn;
  const server = createServer(
    (req: IncomingMessage, res: ServerResponse) => void answer(state, { host, route, req, res }),
  );
  // Tests stall bodies and wait between requests on purpose: only the client may lose patience.
  server.requestTimeout = 0;
  server.keepAliveTimeout = 120_000;
  server.on("connection", (socket) => {
    // One listener for each pipelined request is no leak.
    socket.setMaxListeners(0);
    if (takeFault(state.faults, "refuse", { host, method: "", path: "" })) socket.destroy();
  });
  server.on("clientError", (_error, socket) => socket.destroy());
  // Both IP versions, so that "localhost" works whichever way it resolves.
  server.listen(port, "::");
  await once(server, "listening");
  return server;
}

async function shut(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, "close");
  server.close();
  server.closeAllConnections();
  await closed;
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}
