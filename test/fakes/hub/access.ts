import { type HubState, Refusal, type TokenSpec } from "./exchange.ts";
import type { Commit, Entry, Repository } from "./repository.ts";

/** Who is asking: undefined without a token; an unknown token is refused at once, public repository or not. */
export function identify(hub: HubState, authorization: string | undefined): TokenSpec | undefined {
  if (authorization === undefined) return undefined;
  const token = /^Bearer (.+)$/.exec(authorization)?.[1] ?? "";
  if (!Object.hasOwn(hub.tokens, token)) throw new Refusal(401, "Invalid credentials in Authorization header");
  return hub.tokens[token];
}

/** A private repository looks like one that does not exist. */
export function visibleRepo(hub: HubState, user: TokenSpec | undefined, id: string): Repository {
  const repo = hub.repos.get(id);
  const hidden = repo?.spec.private && !(user && (id.startsWith(`${user.name}/`) || user.privateAccess?.includes(id)));
  if (!repo || hidden) {
    const code = { "X-Error-Code": "RepoNotFound" };
    throw user
      ? new Refusal(404, "Repository not found", code)
      : new Refusal(401, "Invalid username or password.", code);
  }
  if (repo.spec.disabled) throw new Refusal(403, "Access to this resource is disabled.");
  return repo;
}

/** Gates the bytes; model info and tree stay public. */
export function passGate(user: TokenSpec | undefined, { spec }: Repository): void {
  if (!spec.gated || user?.gatedAccess?.includes(spec.id)) return;
  const code = { "X-Error-Code": "GatedRepo" };
  const restricted = `Access to model ${spec.id} is restricted`;
  if (!user) {
    throw new Refusal(
      401,
      `${restricted}. You must have access to it and be authenticated to access it. Please log in.`,
      code,
    );
  }
  const ask = `Visit https://huggingface.co/${spec.id} to ask for access.`;
  throw new Refusal(403, `${restricted} and you are not in the authorized list. ${ask}`, code);
}

/**
 * Splits `revision/path...` that may or may not have come with the revision's slashes encoded (`refs%2Fpr%2F1`,
 * `refs/pr/1`): git never has both `a` and `a/b` as refs, so the first prefix that is a revision is the revision.
 */
export function takeRevision(repo: Repository, segments: string[]): { commit: Commit; path: string } {
  for (let count = 1; count <= segments.length; count++) {
    const commit = repo.resolve(segments.slice(0, count).join("/"));
    if (commit) return { commit, path: segments.slice(count).join("/") };
  }
  const asked = segments[0] === "refs" ? segments.slice(0, 3).join("/") : (segments[0] ?? "");
  throw new Refusal(404, `Invalid rev id: ${asked}`, { "X-Error-Code": "RevisionNotFound" });
}

export function takeEntry(commit: Commit, path: string): Entry {
  const entry = commit.files.get(path);
  if (!entry) throw entryNotFound(commit);
  return entry;
}

export function entryNotFound(commit: Commit): Refusal {
  return new Refusal(404, "Entry not found", { "X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit.id });
}
