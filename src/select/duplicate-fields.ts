import { lineOf } from "./catalog-error.ts";
import type { Finding } from "./finding.ts";

/** Of a field that stands twice in an object, JSON readers keep the last without a word. */
export async function duplicateFields(text: string): Promise<Finding[]> {
  const { visit } = await import("jsonc-parser");
  const open: { path: PropertyKey[]; names: Set<string> }[] = [];
  const found: Finding[] = [];
  visit(text, {
    onObjectBegin: (_offset, _length, _line, _character, path) => void open.push({ path: path(), names: new Set() }),
    onObjectEnd: () => void open.pop(),
    onObjectProperty(name, offset) {
      const object = open.at(-1);
      if (object?.names.has(name)) {
        const path = [...object.path, name];
        const hint = "Rename one of them, or remove it.";
        found.push({ level: "fail", path, line: lineOf(text, offset), found: `${name} stands there twice`, hint });
      }
      object?.names.add(name);
    },
  });
  return found;
}
