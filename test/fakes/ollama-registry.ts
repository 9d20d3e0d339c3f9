import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** An Ollama registry as the contract has it: manifests, and blobs behind a redirect to another host name. */

export interface OllamaModelSpec {
  /** By media type after `application/vnd.ollama.image.`: model, projector, template, params, license … */
  layers: Record<string, Uint8Array | string>;
  config?: Record<string, unknown>;
}

export interface OllamaRegistryFaults {
  /** Answers to the next n requests for blobs. */
  blobStatus?: { status: number; times: number };
  flipByte?: { times: number };
  ignoreRange?: boolean;
  expired?: { times: number };
  unauthorized?: boolean;
}

export interface OllamaRegistry extends AsyncDisposable {
  url: string;
  faults: OllamaRegistryFaults;
  requests: { method: string; path: string; status: number; authorization: boolean }[];
  /** `name` is namespace/model:tag. Gives the manifest's bytes. */
  addModel(name: string, spec: OllamaModelSpec): string;
  /** Bytes of blobs sent. */
  bytesServed(): number;
}

export async function startOllamaRegistry(): Promise<OllamaRegistry> {
  const manifests = new Map<string, string>();
  const blobs = new Map<string, Buffer>();
  const faults: OllamaRegistryFaults = {};
  const requests: OllamaRegistry["requests"] = [];
  let served = 0;

  const store = (content: Uint8Array | string) => {
    const bytes = Buffer.from(content);
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    blobs.set(digest, bytes);
    return { digest, size: bytes.length };
  };
  const due = (fault: { times: number } | undefined) => {
    if (!fault || fault.times <= 0) return false;
    fault.times -= 1;
    return true;
  };

  const sendBlob = (request: IncomingMessage, response: ServerResponse, digest: string) => {
    const whole = blobs.get(digest);
    if (!whole) return response.writeHead(404).end();
    if (request.headers.authorization) return response.writeHead(400).end("signed URLs take no Authorization");
    if (due(faults.expired)) return response.writeHead(403).end("expired");
    let content = whole;
    if (due(faults.flipByte)) {
      content = Buffer.from(whole);
      content[0] = (content[0] ?? 0) ^ 1;
    }
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    if (range && !faults.ignoreRange) {
      const [start, end] = [Number(range[1]), Math.min(Number(range[2]), whole.length - 1)];
      response.writeHead(206, {
        "content-range": `bytes ${start}-${end}/${whole.length}`,
        "content-length": end - start + 1,
      });
      served += end - start + 1;
      return response.end(content.subarray(start, end + 1));
    }
    response.writeHead(200, { "content-length": content.length });
    served += content.length;
    return response.end(content);
  };

  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://registry");
    response.on("finish", () =>
      requests.push({
        method: request.method ?? "",
        path: url.pathname,
        status: response.statusCode,
        authorization: request.headers.authorization !== undefined,
      }),
    );
    const cdn = /^\/cdn\/(sha256:[0-9a-f]{64})$/.exec(url.pathname);
    if (cdn?.[1]) return sendBlob(request, response, cdn[1]);
    if (faults.unauthorized) {
      return response.writeHead(401, { "www-authenticate": 'Bearer realm="https://example.invalid/token"' }).end();
    }
    const manifest = /^\/v2\/(.+)\/manifests\/([^/]+)$/.exec(url.pathname);
    if (manifest) {
      const text = manifests.get(`${manifest[1]}:${manifest[2]}`);
      if (!text)
        return response
          .writeHead(404, { "content-type": "application/json" })
          .end('{"errors":[{"code":"MANIFEST_UNKNOWN"}]}');
      // As the live registry does it: text/plain.
      return response.writeHead(200, { "content-type": "text/plain; charset=utf-8" }).end(text);
    }
    const blob = /^\/v2\/(.+)\/blobs\/(sha256:[0-9a-f]{64})$/.exec(url.pathname);
    if (blob?.[2]) {
      if (due(faults.blobStatus)) return response.writeHead(faults.blobStatus?.status ?? 500).end();
      const { port } = server.address() as AddressInfo;
      return response.writeHead(307, { location: `http://localhost:${port}/cdn/${blob[2]}` }).end();
    }
    return response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, () => resolve()));

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    faults,
    requests,
    bytesServed: () => served,
    addModel(name, { layers, config }) {
      const text = JSON.stringify({
        schemaVersion: 2,
        mediaType: "application/vnd.docker.distribution.manifest.v2+json",
        config: {
          mediaType: "application/vnd.docker.container.image.v1+json",
          ...store(JSON.stringify({ model_format: "gguf", architecture: "amd64", os: "linux", ...config })),
        },
        layers: Object.entries(layers).map(([type, content]) => ({
          mediaType: `application/vnd.ollama.image.${type}`,
          ...store(content),
        })),
      });
      manifests.set(name, text);
      return text;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
