import { describe, expect, it } from "vitest";
import { pageCheck } from "../../src/serve/page-schema.ts";

describe("a page's answer", () => {
  const invoice = {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    $defs: { line: { type: "object", required: ["sum"], properties: { sum: { type: "number", minimum: 0 } } } },
    type: "object",
    properties: { lines: { type: "array", items: { $ref: "#/$defs/line" } }, date: { type: "string", format: "date" } },
    required: ["lines"],
    additionalProperties: false,
  };

  it("is as the schema has it, or it is told what is not", async () => {
    const check = await pageCheck(invoice);
    expect(check({ lines: [{ sum: 1 }], date: "no date, but format is a remark" })).toBeNull();
    expect(check({ lines: [{ sum: -1 }, {}], more: 1 })).toBe(
      "it must NOT have additional properties (more); lines.0.sum must be >= 0; lines.1 must have required property 'sum'",
    );
    expect(check([])).toBe("it must be object");
    expect(check({ lines: [{ sum: 1 }] })).toBeNull();
  });

  it.each([
    ["http://json-schema.org/draft-07/schema#", true],
    ["http://json-schema.org/draft-04/schema#", true],
    ["https://json-schema.org/draft/2019-09/schema", false],
    [undefined, false],
  ])("by the draft that $schema names: %s", async ($schema, isOld) => {
    // Of draft-07 a list of items is by place; since 2020-12 that is prefixItems.
    const places = [{ type: "string" }, { type: "number" }];
    const check = await pageCheck({ $schema, type: "array", [isOld ? "items" : "prefixItems"]: places });
    expect(check(["a", 1])).toBeNull();
    expect(check([1, "a"])).toContain("0 must be string");
  });

  it("a pattern that takes for ever holds nothing up", async () => {
    const check = await pageCheck({ type: "string", pattern: "^(a+)+$" });
    expect(check("aaaa")).toBeNull();
    expect(check(`${"a".repeat(60)}!`)).toBe("the schema takes too long to check");
    expect(check("aaaa")).toBeNull();
  });
});

it.each<[string, Record<string, unknown>]>([
  ["a type that is none", { type: "nothing such" }],
  ["a reference into the void", { $ref: "#/$defs/none" }],
  ["a reference to somewhere else", { $ref: "https://example.com/schema.json" }],
  ["a pattern that is none", { type: "string", pattern: "(" }],
])("%s is refused", async (_what, schema) => {
  await expect(pageCheck(schema)).rejects.toMatchObject({
    code: "INVALID_INPUT",
    message: expect.stringMatching(/^schema: /),
  });
});
