import * as z from "zod";
import { VERSION } from "../../system.ts";
import type { Route } from "./routes.ts";

type Json = Record<string, unknown>;

const errorSchema = z
  .object({
    error: z.object({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable(),
      code: z.string().nullable(),
    }),
  })
  .meta({ title: "Error", description: "As OpenAI's API has it" });

/** The OpenAPI 3.1 document of these routes. */
export function openApiDocument(routes: readonly Route[]): Json {
  const paths: Record<string, Json> = {};
  for (const route of routes.filter(({ isPage }) => !isPage))
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation(route) };
  return {
    openapi: "3.1.0",
    info: {
      title: "muster coordinator",
      version: VERSION,
      description: "An OpenAI gateway for a fleet of workers, asynchronous jobs, and the workers themselves.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    security: [{ bearer: [] }],
    paths,
    components: {
      schemas: namedSchemas(routes),
      securitySchemes: { bearer: { type: "http", scheme: "bearer" } },
    },
  };
}

function operation({ method, path, access, summary, body, query, values, answers }: Route): Json {
  return {
    operationId: `${method.toLowerCase()}${path.replace(/[^a-zA-Z]+(\w?)/g, (_, letter: string) => letter.toUpperCase())}`,
    summary: access === "admin" ? `${summary} (administrators)` : summary,
    ...(access === "anyone" ? { security: [] } : {}),
    parameters: [
      ...[...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => ({
        ...{ name, in: "path", required: true },
        schema: { type: "string", ...(values?.[name] ? { enum: values[name] } : {}) },
      })),
      ...queryParameters(query),
    ],
    ...(body ? { requestBody: { required: true, content: json(body) } } : {}),
    responses: {
      ...Object.fromEntries(
        Object.entries(answers).map(([status, answer]) => [status, response(Number(status), answer)]),
      ),
      ...(body ? { 400: failure("The request is wrong"), 413: failure("The request is too large") } : {}),
      ...(access === "anyone" ? {} : { 401: failure("The token is missing or wrong") }),
      ...(access === "anyone" ? {} : { 403: failure("The token does not allow this") }),
    },
  };
}

function response(status: number, { description, schema, events }: Route["answers"][number]): Json {
  if (status >= 400) return failure(description);
  const content = { ...json(schema ?? z.looseObject({})), ...(events ? { "text/event-stream": { schema: {} } } : {}) };
  return { description, content };
}

function failure(description: string): Json {
  return { description, content: json(errorSchema) };
}

function json(schema: z.ZodType): Json {
  const { title } = plain(schema);
  return {
    "application/json": {
      schema: typeof title === "string" ? { $ref: `#/components/schemas/${title}` } : plain(schema),
    },
  };
}

/** Those with a title, which others refer to. */
function namedSchemas(routes: readonly Route[]): Json {
  const all = routes.flatMap(({ body, answers }) => [body, ...Object.values(answers).map(({ schema }) => schema)]);
  const given = [errorSchema, ...all].flatMap((schema) => (schema ? [plain(schema)] : []));
  return Object.fromEntries(given.flatMap((schema) => (schema.title ? [[String(schema.title), schema]] : [])));
}

function plain(schema: z.ZodType): Json {
  const { $schema: _schema, ...rest } = z.toJSONSchema(schema, { io: "input" }) as Json;
  return rest;
}

function queryParameters(query: z.ZodObject | undefined): Json[] {
  return Object.entries(query?.shape ?? {}).map(([name, schema]) => ({
    ...{ name, in: "query", required: false },
    schema: plain(schema as z.ZodType),
  }));
}
