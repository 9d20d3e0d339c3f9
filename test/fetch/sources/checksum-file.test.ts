import fc from "fast-check";
import { expect, it } from "vitest";
import { parseChecksums } from "../../../src/fetch/sources/checksum-file.ts";

const sum = fc.stringMatching(/^[0-9a-f]{64}$/);
const path = fc.stringMatching(/^[\w-][\w .()/-]{0,20}[\w-]$/);
const list = fc.uniqueArray(fc.tuple(path, sum), { selector: ([name]) => name });

it.each<[string, (path: string, sum: string) => string]>([
  ["as sha256sum writes them", (name, hex) => `${hex}  ${name}`],
  ["of binary files", (name, hex) => `${hex} *./${name}`],
  ["with tags", (name, hex) => `SHA256 (${name}) = ${hex.toUpperCase()}`],
])("reads lines %s, and skips all others", (_what, line) => {
  fc.assert(
    fc.property(list, fc.constantFrom("\n", "\r\n"), (entries, end) => {
      const text = ["# sums", ...entries.map(([name, hex]) => line(name, hex)), "", "d41d8cd98f  md5.txt"].join(end);
      expect([...parseChecksums(text)]).toEqual(entries);
    }),
  );
});
