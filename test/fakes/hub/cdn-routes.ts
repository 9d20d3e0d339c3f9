import { createHash } from "node:crypto";
import { type Exchange, Refusal } from "./exchange.ts";
import { takeFault } from "./faults.ts";
import { sendFile } from "./send-file.ts";
import { answerXet } from "./xet.ts";

/** The object store behind the Hub: signed paths, no tokens, an ETag of its own. */
export async function answerCdn(exchange: Exchange): Promise<void> {
  const { hub, req, seen } = exchange;
  if (req.method !== "GET" && req.method !== "HEAD") throw new Refusal(405, "Method Not Allowed");
  if (seen.path.startsWith("/xet/")) return answerXet(exchange);
  if (req.headers.authorization !== undefined) throw new Refusal(400, "Only one auth mechanism allowed");
  checkSignature(exchange);
  const [, repoId = "", sha256 = ""] = /^\/repos\/(.+?)\/([0-9a-f]{64})\//.exec(seen.path) ?? [];
  const entry = hub.repos.get(repoId)?.lfsObject(({ oid }) => oid === sha256);
  if (!entry) throw new Refusal(404, "The specified key does not exist.");
  seen.repo = repoId;
  seen.file = decodeURIComponent(seen.path.slice(`/repos/${repoId}/${sha256}/`.length));
  const parts = Math.ceil(entry.size / (8 * 1024 * 1024));
  await sendFile(exchange, {
    content: entry.content,
    etag: `"${createHash("md5").update(sha256).digest("hex")}-${parts}"`,
    headers: { "Content-Type": "application/octet-stream", "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT" },
  });
}

function checkSignature({ hub, seen }: Exchange): void {
  const valid = hub.signer.check(seen.path, new URLSearchParams(seen.query));
  if (!valid) throw new Refusal(403, "Access denied");
  const over = takeFault(
    hub.faults,
    "expireSignatures",
    seen,
    ({ afterUses, afterMs }) => valid.uses >= (afterUses ?? Infinity) || valid.age >= (afterMs ?? Infinity),
  );
  if (over) throw new Refusal(403, "Request has expired");
  if (seen.method === "GET") valid.use();
}
