import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import type { Answer, Call } from "../gateway/answer.ts";
import { notFound } from "../gateway/api-error.ts";

/** The dashboard's page: files as they stand beside this one, in the sources and in dist/. */
const FOLDER = join(import.meta.dirname, "page");
const INDEX = "index.html";
/** No path: the index of a coordinator that asks for no key. */
const OPEN = "open";

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

const HEADERS = {
  // Nothing from elsewhere, nothing inline, in nobody's frame: what a worker calls itself can never become code.
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  // Kept, and asked for again each time: an update shows at once.
  "cache-control": "no-cache",
};

interface PageFile {
  bytes: Buffer;
  type: string;
  etag: string;
}

let files: Map<string, PageFile> | null = null;

/** `GET /` and `GET /assets/{name}`. Read when first asked for. */
export function servePage({ request, response, url: { pathname }, gateway }: Call): Answer | null {
  files ??= read();
  const file = files.get(pathname === "/" && gateway.isOpen() ? OPEN : pathname);
  if (!file) return notFound(`There is no ${pathname}.`);
  const headers = { ...HEADERS, etag: file.etag };
  const tags = (request.headers["if-none-match"] ?? "").split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  request.resume();
  if (tags.includes(file.etag)) response.writeHead(304, headers).end();
  else {
    response.writeHead(200, { ...headers, "content-type": file.type, "content-length": file.bytes.length });
    response.end(file.bytes);
  }
  return null;
}

function read(): Map<string, PageFile> {
  const names = readdirSync(FOLDER).filter((name) => extname(name) in TYPES && name !== INDEX);
  const index = readFileSync(join(FOLDER, INDEX), "utf8");
  return new Map([
    ["/", pageFile(INDEX, Buffer.from(index))],
    [OPEN, pageFile(INDEX, Buffer.from(index.replace("<html", "<html data-open")))],
    ...names.map((name) => [`/assets/${name}`, pageFile(name, readFileSync(join(FOLDER, name)))] as const),
  ]);
}

function pageFile(name: string, bytes: Buffer): PageFile {
  const etag = `"${createHash("sha256").update(bytes).digest("base64url").slice(0, 27)}"`;
  return { bytes, type: TYPES[extname(name)]!, etag };
}
