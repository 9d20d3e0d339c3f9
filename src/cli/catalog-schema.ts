import { catalogJsonSchema } from "../select/catalog-schema.ts";

/** `muster catalog schema`: the JSON Schema of worker-types.json, for editors. */
export async function printCatalogSchema(): Promise<number> {
  process.stdout.write(`${JSON.stringify(catalogJsonSchema(), null, 2)}\n`);
  return 0;
}
