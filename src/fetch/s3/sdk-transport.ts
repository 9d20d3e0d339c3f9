import { type Dispatcher, request } from "undici";

/** An answer to what has a body waits for the body: for so long a part may be on its way. */
const UPLOAD_MS = 600_000;

/** How the SDK sends its requests: through our connections, with their proxies, time-outs and certificates. */
export function sdkTransport(dispatcher: Dispatcher) {
  return {
    metadata: { handlerProtocol: "http/1.1" },
    async handle(question: SdkRequest, { abortSignal }: { abortSignal?: AbortSignal } = {}) {
      // A server that is asked first whether it wants the body costs a turn more than the body, and undici does not ask.
      const headers = Object.entries(question.headers).filter(([name]) => name.toLowerCase() !== "expect");
      const {
        statusCode,
        headers: answered,
        body,
      } = await request(urlOf(question), {
        dispatcher,
        method: question.method as Dispatcher.HttpMethod,
        headers: Object.fromEntries(headers),
        body: question.body || null,
        signal: abortSignal,
        ...(question.body ? { headersTimeout: UPLOAD_MS } : {}),
      });
      const flat = Object.entries(answered).map(([name, value]) => [name, [value].flat().join(", ")]);
      return { response: { statusCode, headers: Object.fromEntries(flat) as Record<string, string>, body } };
    },
    updateHttpClientConfig: () => undefined,
    httpHandlerConfigs: () => ({}),
    destroy: () => undefined,
  };
}

interface SdkRequest {
  method: string;
  protocol: string;
  hostname: string;
  port?: number;
  path: string;
  query?: Record<string, string | string[] | null>;
  headers: Record<string, string>;
  body?: Buffer | string;
}

function urlOf({ protocol, hostname, port, path, query = {} }: SdkRequest): string {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    [value].flat().map((each) => (each === null ? encode(name) : `${encode(name)}=${encode(each)}`)),
  );
  return `${protocol}//${hostname}${port ? `:${port}` : ""}${path}${pairs.length > 0 ? `?${pairs.join("&")}` : ""}`;
}

/** As it is signed. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}
