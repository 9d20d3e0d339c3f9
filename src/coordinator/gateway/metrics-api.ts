import type { Call } from "./answer.ts";

/** `GET /metrics`, as Prometheus reads them. */
export async function showMetrics({ request, response, gateway: { metrics } }: Call): Promise<null> {
  const text = await metrics.metrics();
  request.resume();
  response.writeHead(200, { "content-type": metrics.contentType, "cache-control": "no-store" });
  response.end(text);
  return null;
}
