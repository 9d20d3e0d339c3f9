import { type Exchange, sendText } from "./exchange.ts";
import { takeFault } from "./faults.ts";
import type { Commit, Entry, Repository } from "./repository.ts";
import { sendFile } from "./send-file.ts";
import { XET_TYPE, xetHashOf, xetHeaders } from "./xet.ts";

export interface Target {
  repo: Repository;
  commit: Commit;
  entry: Entry;
}

/** `/{id}/resolve/{rev}/{path}`: small files come from here, LFS files by a signed redirect. */
export async function sendResolved(exchange: Exchange, target: Target): Promise<void> {
  if (target.entry.lfs) return redirectToCdn(exchange, target);
  if (takeFault(exchange.hub.faults, "relativeRedirect", exchange.seen)) return redirectToCache(exchange, target);
  return sendCached(exchange, target);
}

/** A git file itself; also what the relative redirect leads to, whether or not the client kept its query. */
export async function sendCached(exchange: Exchange, { commit, entry }: Target): Promise<void> {
  exchange.seen.file = entry.path;
  await sendFile(exchange, {
    content: entry.content,
    etag: `"${entry.oid}"`,
    headers: { "X-Repo-Commit": commit.id, "Content-Type": "text/plain; charset=utf-8" },
  });
}

/** `/{id}/raw/{rev}/{path}`: what git holds, which is the pointer of an LFS file. */
export async function sendRaw(exchange: Exchange, target: Target): Promise<void> {
  const { entry } = target;
  await sendCached(exchange, { ...target, entry: entry.pointer ? { ...entry, content: entry.pointer } : entry });
}

function redirectToCdn(exchange: Exchange, { repo, commit, entry }: Target): void {
  const { hub, req, seen } = exchange;
  const path = `/repos/${repo.spec.id}/${entry.lfs!.oid}/${encodePath(entry.path)}`;
  const base = new URL(hub.cdnUrl);
  if (takeFault(hub.faults, "cdnOnHubName", seen)) base.hostname = new URL(`http://${req.headers.host}`).hostname;
  const location = `${base.origin}${path}?${hub.signer.sign(path)}`;
  const linked = {
    "X-Repo-Commit": commit.id,
    "X-Linked-Size": String(entry.size),
    "X-Linked-ETag": `"${entry.lfs!.oid}"`,
    ...(repo.spec.xet && xetHeaders(exchange, repo, commit, xetHashOf(entry.lfs!.oid))),
  };
  const asksXet = repo.spec.xet && req.headers.accept?.includes(XET_TYPE);
  if (asksXet) sendText(exchange, 200, "{}", { ...linked, "Content-Type": XET_TYPE });
  else sendText(exchange, 302, `Found. Redirecting to ${location}`, { Location: location, ...linked });
}

function redirectToCache(exchange: Exchange, { repo, commit, entry }: Target): void {
  const path = `/api/resolve-cache/models/${repo.spec.id}/${commit.id}/${encodePath(entry.path)}`;
  const location = `${path}?etag=${encodeURIComponent(`"${entry.oid}"`)}`;
  sendText(exchange, 307, `Temporary Redirect. Redirecting to ${location}`, {
    Location: location,
    "X-Repo-Commit": commit.id,
  });
}

function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}
