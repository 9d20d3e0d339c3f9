import { identify, passGate, takeEntry, takeRevision, visibleRepo } from "./access.ts";
import { type Exchange, type HubState, Refusal, sendJson, type TokenSpec } from "./exchange.ts";
import { sendModelInfo, sendRefs } from "./model-info.ts";
import { sendCached, sendRaw, sendResolved } from "./resolve.ts";
import { sendPathsInfo, sendTree } from "./tree.ts";
import { sendReadToken } from "./xet.ts";

/** Every route of the Hub's own host. */
export async function answerHub(exchange: Exchange): Promise<void> {
  const { hub, req, seen } = exchange;
  const user = identify(hub, req.headers.authorization);
  const segments = seen.path.slice(1).split("/").map(decodeSegment);
  if (seen.path === "/api/whoami-v2") return sendWhoAmI(exchange, user);
  if (segments[0] === "api" && segments[1] === "models") return answerApi(exchange, user, segments.slice(2));
  if (segments[0] === "api" && segments[1] === "resolve-cache") {
    return answerFile(exchange, user, insertRoute(hub, segments.slice(3)));
  }
  return answerFile(exchange, user, segments);
}

async function answerApi(exchange: Exchange, user: TokenSpec | undefined, segments: string[]): Promise<void> {
  const { hub, seen } = exchange;
  const found = locate(hub, segments, [undefined, "revision", "tree", "paths-info", "refs", "xet-read-token"]);
  if (!found) throw new Refusal(404, "Sorry, we can't find the page you are looking for.");
  needMethod(exchange, ...(found.route === "paths-info" ? ["POST"] : ["GET", "HEAD"]));
  const repo = visibleRepo(hub, user, found.id);
  if (found.route === "refs") return sendRefs(exchange, repo);
  const { commit, path } = takeRevision(repo, found.route === undefined ? ["main"] : found.rest);
  seen.repo = found.id;
  const { xet = false } = repo.spec;
  if (found.route === "xet-read-token") {
    passGate(user, repo);
    if (xet) return sendReadToken(exchange);
    throw new Refusal(404, "Sorry, we can't find the page you are looking for.");
  }
  if (found.route === "tree") return sendTree(exchange, commit, { folder: path.replace(/\/$/, ""), xet });
  if (found.route === "paths-info") return sendPathsInfo(exchange, commit, xet);
  sendModelInfo(exchange, repo, commit);
}

async function answerFile(exchange: Exchange, user: TokenSpec | undefined, segments: string[]): Promise<void> {
  const found = locate(exchange.hub, segments, ["resolve", "raw", "resolve-cache"]);
  if (!found) throw new Refusal(404, "Sorry, we can't find the page you are looking for.");
  needMethod(exchange, "GET", "HEAD");
  const repo = visibleRepo(exchange.hub, user, found.id);
  passGate(user, repo);
  const { commit, path } = takeRevision(repo, found.rest);
  const target = { repo, commit, entry: takeEntry(commit, path) };
  exchange.seen.repo = found.id;
  if (found.route === "raw") return sendRaw(exchange, target);
  if (found.route === "resolve-cache") return sendCached(exchange, target);
  return sendResolved(exchange, target);
}

/** `{id}/{commit}/{path}` has no word between id and commit; one is put there so that it reads like the others. */
function insertRoute(hub: HubState, segments: string[]): string[] {
  const words = hub.repos.has(segments.slice(0, 2).join("/")) ? 2 : 1;
  return segments.toSpliced(words, 0, "resolve-cache");
}

/** Repository ids have two segments or one: two are tried first, and a repository that exists wins. */
function locate(hub: HubState, segments: string[], routes: (string | undefined)[]) {
  const readings = [2, 1]
    .filter((words) => words <= segments.length && routes.includes(segments[words]))
    .map((words) => ({
      id: segments.slice(0, words).join("/"),
      route: segments[words],
      rest: segments.slice(words + 1),
    }));
  return readings.find(({ id }) => hub.repos.has(id)) ?? readings[0];
}

function sendWhoAmI(exchange: Exchange, user: TokenSpec | undefined): void {
  if (!user) throw new Refusal(401, "Invalid username or password.");
  const auth = { type: "access_token", accessToken: { displayName: "test", role: "read" } };
  sendJson(exchange, { type: "user", id: `id-${user.name}`, name: user.name, fullname: user.name, orgs: [], auth });
}

function needMethod({ req }: Exchange, ...methods: string[]): void {
  if (!methods.includes(req.method!)) throw new Refusal(405, "Method Not Allowed", { Allow: methods.join(", ") });
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new Refusal(400, "Bad percent-encoding");
  }
}
