import fc from "fast-check";
import { expect, test } from "vitest";
import { toolJson } from "../../src/detect/tool-json.ts";

test("finds the JSON between a tool's warnings", () => {
  expect(toolJson('\nWARNING: AMD GPU device(s) is/are in a low-power state.\n{"card0": {}}\nbye')).toEqual({
    card0: {},
  });
  expect(toolJson('[{"gpu": 0}]')).toEqual([{ gpu: 0 }]);
});

test.each(["", "no", "{", "} {", '{"cut": ', "{}{}"])("'%s' is none", (output) => {
  expect(toolJson(output)).toBeNull();
});

test("any text gives a value or null", () => {
  fc.assert(fc.property(fc.string(), (text) => toolJson(text) !== undefined));
});
