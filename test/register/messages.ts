import fc from "fast-check";

const FIELDS = [
  "id",
  "ts",
  "workerId",
  "bootId",
  "n",
  "models",
  "jobs",
  "slots",
  "usage",
  "epoch",
  "beatMs",
  "maxFrame",
];

/** Messages of every kind of wrongness: bytes, text, JSON, and near misses of frames of these types. */
export function messages(types: string[]): fc.Arbitrary<string | Buffer> {
  const nearMiss = fc
    .tuple(fc.constantFrom(...types), fc.dictionary(fc.constantFrom(...FIELDS), fc.jsonValue({ maxDepth: 3 })))
    .map(([t, fields]) => JSON.stringify({ ...fields, t }));
  const nested = fc.integer({ min: 1, max: 20_000 }).map((depth) => "[".repeat(depth) + "]".repeat(depth));
  const prototype = fc.constantFrom('{"__proto__":{"t":"pause"}}', '{"t":"__proto__"}', '{"t":{"t":"pause"}}');
  const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));
  return fc.oneof(nearMiss, nearMiss, fc.json(), fc.string({ unit: "binary" }), nested, prototype, bytes);
}
