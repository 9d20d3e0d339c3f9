import { expect, test } from "vitest";
import { API_ROUTES } from "../../../src/coordinator/gateway/http-api.ts";
import { startRawCoordinator } from "../raw-fleet.ts";

interface Operation {
  operationId: string;
  parameters: { name: string; in: string }[];
  responses: Record<string, { description: string; content?: Record<string, object> }>;
  requestBody?: { content: Record<string, { schema: { $ref?: string } }> };
}

interface Document {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, object> };
}

test("the document has each route that is served, and each route of it is served", async () => {
  await using peer = await startRawCoordinator();
  const response = await fetch(`${peer.url}/openapi.json`);
  const document = (await response.json()) as Document;
  expect(document.openapi).toBe("3.1.0");
  const told = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  const forPrograms = API_ROUTES.filter(({ isPage }) => !isPage);
  expect(told.toSorted()).toEqual(forPrograms.map(({ method, path }) => `${method} ${path}`).toSorted());
  for (const route of told) {
    const [method = "", path = ""] = route.split(" ");
    const answer = await fetch(peer.url + path.replaceAll(/\{\w+\}/g, "none"), {
      method,
      signal: AbortSignal.timeout(5_000),
    });
    const isStream = answer.headers.get("content-type")?.startsWith("text/event-stream");
    if (isStream) await answer.body?.cancel();
    const { error } = (isStream ? {} : await answer.json()) as { error?: { code: string; message: string } };
    // Of the route itself, not of the table of routes.
    expect(answer.status, route).not.toBe(405);
    expect(error?.message ?? "", route).not.toMatch(/^There is no \/|went wrong/);
    const operation = document.paths[path]?.[method.toLowerCase()];
    expect(Object.keys(operation!.responses), route).toContain(String(answer.status));
  }
  const operations = Object.values(document.paths).flatMap((methods) => Object.values(methods));
  expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length);
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const { parameters } of Object.values(methods)) {
      const inPath = parameters.filter((parameter) => parameter.in === "path").map(({ name }) => `{${name}}`);
      expect(inPath).toEqual(path.match(/\{\w+\}/g) ?? []);
    }
  }
  const reference = document.paths["/v1/chat/completions"]?.post?.requestBody?.content["application/json"]?.schema.$ref;
  expect(reference).toBe("#/components/schemas/ChatRequest");
  expect(document.components.schemas.ChatRequest).toMatchObject({
    properties: { model: { type: "string" }, messages: { type: "array", minItems: 1 } },
  });
  const named = [...JSON.stringify(document).matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name!);
  expect(named.filter((name) => !(name in document.components.schemas))).toEqual([]);
});
