import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { API_ROUTES } from "../src/coordinator/gateway/http-api.ts";
import { openApiDocument } from "../src/coordinator/gateway/openapi.ts";
import { lockSchema } from "../src/fetch/lock-file.ts";
import { coordinatorFrame, workerFrame } from "../src/protocol.ts";
import { catalogJsonSchema } from "../src/select/catalog-schema.ts";
import { settingMeta } from "../src/settings/setting.ts";
import { settings } from "../src/settings/settings.ts";

/** Writes what is made from the schemas: configuration tables and JSON Schemas. With --check it only says what is stale. */

const root = join(import.meta.dirname, "..");
const check = process.argv.includes("--check");
const stale: string[] = [];

const entries = Object.entries(settings.shape as Record<string, z.ZodType>).map(([name, schema]) => ({
  name,
  ...settingMeta(schema),
}));
const groups = [...new Set(entries.map(({ group }) => group))];
const row = ({ name, description, allowed, otherwise }: (typeof entries)[number]) =>
  `| \`${name}\` | ${description} | ${allowed} | ${otherwise} |`;
const tables = groups.map((group) => {
  const rows = entries.filter((entry) => entry.group === group).map(row);
  return `### ${group}\n\n| variable | meaning | allowed | otherwise |\n| --- | --- | --- | --- |\n${rows.join("\n")}`;
});

const IN_README = [
  "WORKER_TYPE",
  "MODEL_CACHE_DIR",
  "COORDINATOR_URL",
  "COORDINATOR_TOKEN_FILE",
  "HF_TOKEN_FILE",
  "HF_ENDPOINT",
  "ENABLE_GPU",
  "HTTP_PORT",
  "LOG_LEVEL",
];
const short = IN_README.map((name) => {
  const entry = entries.find((each) => each.name === name);
  if (!entry) throw new Error(`no setting ${name}`);
  return `| \`${name}\` | ${entry.description} | ${entry.otherwise} |`;
});

await section("docs/configuration.md", "settings", tables.join("\n\n"));
await section("README.md", "settings", `| variable | meaning | otherwise |\n| --- | --- | --- |\n${short.join("\n")}`);
await whole("docs/worker-types.schema.json", `${JSON.stringify(catalogJsonSchema(), null, 2)}\n`);
await whole("docs/models.lock.schema.json", jsonSchema(lockSchema, "muster models.lock.json"));
await whole("docs/protocol.worker.schema.json", jsonSchema(workerFrame, "muster.v1: frames a worker sends"));
await whole(
  "docs/protocol.coordinator.schema.json",
  jsonSchema(coordinatorFrame, "muster.v1: frames a coordinator sends"),
);
await whole("docs/openapi.json", `${JSON.stringify(openApiDocument(API_ROUTES), null, 2)}\n`);

if (stale.length > 0) {
  process.stderr.write(`Stale: ${stale.join(", ")}; run \`npm run generate\`\n`);
  process.exitCode = 1;
}

function jsonSchema(schema: z.ZodType, title: string): string {
  return `${JSON.stringify({ title, ...z.toJSONSchema(schema, { io: "input" }) }, null, 2)}\n`;
}

/** Replaces what stands between the markers of that name. */
async function section(file: string, name: string, text: string): Promise<void> {
  const before = await readFile(join(root, file), "utf8");
  const [start, end] = [`<!-- generated: ${name} -->`, `<!-- end: ${name} -->`];
  if (!before.includes(start) || !before.includes(end)) throw new Error(`${file} has no section ${name}`);
  const head = before.slice(0, before.indexOf(start) + start.length);
  await whole(file, `${head}\n\n${text}\n\n${before.slice(before.indexOf(end))}`);
}

async function whole(file: string, text: string): Promise<void> {
  const before = await readFile(join(root, file), "utf8").catch(() => "");
  if (before === text) return;
  if (check) stale.push(file);
  else await writeFile(join(root, file), text);
}
