import { createHash, createPublicKey, randomUUID, verify } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** An Ollama registry as the contract has it: manifests, and blobs behind a redirect to a signed URL at another host. */

export interface OllamaModel {
  /** By media type after `application/vnd.ollama.image.`: model, projector, template, params, license … */
  layers: Record<string, Uint8Array | string>;
  config?: Record<string, unknown>;
}

/** Each applies to the next `times` requests it can apply to; once where that is left out. */
interface Times {
  times?: number;
}

export interface RegistryFaults {
  manifestStatus?: Times & { status: number; retryAfter?: string };
  /** Of the registry, where it would have redirected. */
  blobStatus?: Times & { status: number; retryAfter?: string };
  cdnStatus?: Times & { status: number };
  /** A signed URL serves so many requests and then refuses. */
  linkUses?: number;
  /** The registry sends blobs itself, as Debian's does. */
  noRedirect?: boolean;
  ignoreRange?: boolean;
  /** No byte after so many of a body, not even the head with -1. */
  stall?: Times & { afterBytes: number };
  reset?: Times & { afterBytes: number };
  flipByte?: Times;
  /** Content-Length says more, or less, than is sent. */
  wrongLength?: Times & { difference: number };
  bytesPerSecond?: number;
}

export interface RegistryRequest {
  host: "registry" | "cdn";
  method: string;
  path: string;
  range: string | undefined;
  authorization: string | undefined;
  status: number;
}

export interface OllamaRegistry extends AsyncDisposable {
  url: string;
  faults: RegistryFaults;
  requests: RegistryRequest[];
  /** Tokens that were given out and still hold; clearing it makes them expire. Null: none is asked for. */
  tokens: Set<string> | null;
  /** Where a token is said to be had; the registry itself where it is left out. */
  realm: string | null;
  /** What the token endpoint says of a token's life, in seconds. */
  tokenLifeS: number;
  /** Waited for before a request is answered. */
  onRequest: ((request: Omit<RegistryRequest, "status">) => Promise<void> | void) | null;
  /** `name` is namespace/model:tag. Gives the manifest's text. */
  addModel(name: string, model: OllamaModel): string;
  /** Bytes of blobs sent. */
  bytesServed(): number;
  /** Faults, requests and the like as at the start; models stay. */
  reset(): void;
}

interface StoredBlob {
  digest: string;
  size: number;
}

export const MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json";

/** A manifest as Ollama pushes it: layers by what is left of their media types. */
export function manifestText(config: StoredBlob, layers: [type: string, blob: StoredBlob][]): string {
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: "application/vnd.docker.container.image.v1+json", ...config },
    layers: layers.map(([type, blob]) => ({ mediaType: `application/vnd.ollama.image.${type}`, ...blob })),
  });
}

/** The config of a model. */
export function configText(config: OllamaModel["config"] = {}): string {
  return JSON.stringify({ model_format: "gguf", architecture: "amd64", os: "linux", ...config });
}

export async function startOllamaRegistry(): Promise<OllamaRegistry> {
  const manifests = new Map<string, string>();
  const blobs = new Map<string, Buffer>();
  const links = new Map<string, number>();
  let served = 0;

  const store = (content: Uint8Array | string) => {
    const bytes = Buffer.from(content);
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    blobs.set(digest, bytes);
    return { digest, size: bytes.length };
  };

  const listening = async (host: string, answer: (request: IncomingMessage, response: ServerResponse) => unknown) => {
    const server = createServer((request, response) => {
      Promise.resolve(answer(request, response)).catch(() => response.destroy());
    }).listen(0, host);
    await once(server, "listening");
    return server;
  };

  const noted = async (host: RegistryRequest["host"], request: IncomingMessage, response: ServerResponse) => {
    const { method = "", url = "", headers } = request;
    const seen = { host, method, path: url, range: headers.range, authorization: headers.authorization };
    response.on("close", () => registry.requests.push({ ...seen, status: response.statusCode }));
    await registry.onRequest?.(seen);
  };

  const cdn = await listening("localhost", async (request, response) => {
    await noted("cdn", request, response);
    const [, digest = "", link = ""] = /^\/(sha256:[0-9a-f]{64})\?signature=(.+)$/.exec(request.url ?? "") ?? [];
    const uses = links.get(link) ?? 0;
    links.set(link, uses + 1);
    const content = blobs.get(digest);
    if (!content || request.headers.authorization) return void refuse(response, 400);
    if (!links.has(link) || uses >= (registry.faults.linkUses ?? Number.POSITIVE_INFINITY))
      return void refuse(response, 403);
    const fault = take("cdnStatus");
    return fault ? refuse(response, fault.status) : sendBlob(request, response, content);
  });

  const own = await listening("127.0.0.1", async (request, response) => {
    await noted("registry", request, response);
    const url = new URL(request.url ?? "/", registry.url);
    if (url.pathname === "/token") return giveToken(request, response, url);
    const [, name = "", kind, reference = ""] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(url.pathname) ?? [];
    if (registry.tokens && !registry.tokens.has(request.headers.authorization?.replace("Bearer ", "") ?? "")) {
      const challenge = `Bearer realm="${registry.realm ?? `${registry.url}/token`}",service="fake",scope="repository:${name}:pull"`;
      return void refuse(response, 401, { "www-authenticate": challenge });
    }
    const failure = take(kind === "manifests" ? "manifestStatus" : "blobStatus");
    if (failure)
      return void refuse(response, failure.status, failure.retryAfter ? { "retry-after": failure.retryAfter } : {});
    if (kind === "manifests") return sendManifest(request, response, name, reference);
    const content = blobs.get(reference);
    if (!content) return void refuse(response, 404);
    if (registry.faults.noRedirect) return sendBlob(request, response, content);
    const link = randomUUID();
    links.set(link, 0);
    const location = `http://localhost:${(cdn.address() as AddressInfo).port}/${reference}?signature=${link}`;
    return void response.writeHead(307, { location, "content-length": 0 }).end();
  });

  const registry: OllamaRegistry = {
    url: `http://127.0.0.1:${(own.address() as AddressInfo).port}`,
    faults: {},
    requests: [],
    tokens: null,
    realm: null,
    tokenLifeS: 300,
    onRequest: null,
    bytesServed: () => served,
    addModel(name, { layers, config }) {
      const text = manifestText(
        store(configText(config)),
        Object.entries(layers).map(([type, content]) => [type, store(content)]),
      );
      manifests.set(name, text);
      store(text);
      return text;
    },
    reset() {
      Object.assign(registry, {
        faults: {},
        requests: [],
        tokens: null,
        realm: null,
        tokenLifeS: 300,
        onRequest: null,
      });
      served = 0;
    },
    async [Symbol.asyncDispose]() {
      for (const server of [own, cdn]) {
        server.closeAllConnections();
        if (server.listening) await new Promise((resolve) => server.close(resolve));
      }
    },
  };

  function take<
    K extends "manifestStatus" | "blobStatus" | "cdnStatus" | "stall" | "reset" | "flipByte" | "wrongLength",
  >(name: K): RegistryFaults[K] {
    const fault = registry.faults[name];
    if (!fault || fault.times === 0) return undefined;
    fault.times = (fault.times ?? 1) - 1;
    return fault;
  }

  /** As the live registry does it: text/plain, no Content-Length, and GET only. */
  function sendManifest({ method }: IncomingMessage, response: ServerResponse, name: string, reference: string): void {
    if (method !== "GET") return void refuse(response, 405);
    const text = manifests.get(`${name}:${reference}`) ?? blobs.get(reference)?.toString();
    if (text === undefined) return void refuse(response, 404, {}, '{"errors":[{"code":"MANIFEST_UNKNOWN"}]}');
    response.writeHead(200, { "content-type": "text/plain; charset=utf-8" });
    response.write(text.slice(0, 10));
    response.end(text.slice(10));
  }

  async function sendBlob(
    { method, headers }: IncomingMessage,
    response: ServerResponse,
    whole: Buffer,
  ): Promise<void> {
    const range = registry.faults.ignoreRange ? null : /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "");
    const [start, end] = range ? [Number(range[1]), Math.min(Number(range[2]) + 1, whole.length)] : [0, whole.length];
    const body = Buffer.from(whole.subarray(start, end));
    if (method === "HEAD") return void response.writeHead(200, { "content-length": body.length }).end();
    if (body.length > 0 && take("flipByte")) body[0] = (body[0] ?? 0) ^ 1;
    const stallAt = take("stall")?.afterBytes;
    const resetAt = take("reset")?.afterBytes;
    if (stallAt === -1) return;
    response.writeHead(range ? 206 : 200, {
      "content-length": body.length + (take("wrongLength")?.difference ?? 0),
      ...(range ? { "content-range": `bytes ${start}-${end - 1}/${whole.length}` } : {}),
    });
    response.flushHeaders();
    response.setMaxListeners(0);
    const until = Math.min(stallAt ?? body.length, resetAt ?? body.length, body.length);
    const { bytesPerSecond } = registry.faults;
    const step = bytesPerSecond ? Math.ceil(bytesPerSecond / 50) : 256 << 10;
    for (let at = 0; at < until; at += step) {
      const piece = body.subarray(at, Math.min(at + step, until));
      served += piece.length;
      if (!response.write(piece)) await Promise.race([once(response, "drain"), once(response, "close")]);
      if (response.destroyed) return;
      if (bytesPerSecond) await sleep(20);
    }
    if (resetAt !== undefined) return void response.socket?.resetAndDestroy();
    if (stallAt === undefined) response.end();
  }

  /** Who asks has signed the question with the key that it shows. */
  function giveToken({ headers }: IncomingMessage, response: ServerResponse, url: URL): void {
    const [blob = "", signature = ""] = (headers.authorization ?? "").split(":");
    const x = Buffer.from(blob, "base64").subarray(-32).toString("base64url");
    const key = createPublicKey({ format: "jwk", key: { kty: "OKP", crv: "Ed25519", x } });
    const empty = Buffer.from(createHash("sha256").update("").digest("hex")).toString("base64");
    const signed = Buffer.from(`GET,${url.href},${empty}`);
    const asked = ["nonce", "scope", "service", "ts"];
    const isSigned = verify(null, signed, key, Buffer.from(signature, "base64"));
    if (!isSigned || [...url.searchParams.keys()].join() !== asked.join()) {
      refuse(response, 401, {}, '{"error":"unauthorized"}');
      return;
    }
    const token = `token-${randomUUID()}`;
    registry.tokens?.add(token);
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ token, expires_in: registry.tokenLifeS }));
  }

  return registry;
}

function refuse(response: ServerResponse, status: number, headers: Record<string, string> = {}, body = ""): void {
  response.writeHead(status, headers).end(body);
}
