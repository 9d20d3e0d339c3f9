import * as z from "zod";
import { MusterError } from "../errors.ts";
import { catalogSchema } from "./catalog-schema.ts";

export interface CatalogProblem {
  path: PropertyKey[];
  /** In words, or the value as {@link show} gives it. */
  found: string;
  allowed: string;
}

/** CATALOG_INVALID with a line for each problem: file:line, field, what was found, what is allowed. */
export async function catalogError(file: string, text: string, problems: CatalogProblem[]): Promise<MusterError> {
  const { parseTree, printParseErrorCode } = await import("jsonc-parser");
  const syntax: { error: number; offset: number; length: number }[] = [];
  parseTree(text, syntax, { disallowComments: true });
  const lineAt = await lineFinder(text);
  const lines = problems.map(
    ({ path, found, allowed }) => `${file}:${lineAt(path)}: ${fieldName(path)}: found ${found}; allowed: ${allowed}`,
  );
  for (const { error, offset } of problems.length === 0 ? syntax.slice(0, 1) : []) {
    lines.push(`${file}:${lineOf(text, offset)}: not JSON (${printParseErrorCode(error)})`);
  }
  if (lines.length === 0) lines.push(`${file}: not JSON`);
  return new MusterError(
    "CATALOG_INVALID",
    `The catalog is not valid:\n${lines.map((line) => `  ${line}`).join("\n")}`,
    {
      hint: "Correct the fields named above; docs/worker-types.schema.json describes all of them.",
      details: { problems: lines },
    },
  );
}

/** Where a field stands in the text: its line, from 1. One that is missing has no place of its own, but its parent's. */
export async function lineFinder(text: string): Promise<(path: PropertyKey[]) => number> {
  const { findNodeAtLocation, parseTree } = await import("jsonc-parser");
  const tree = parseTree(text);
  return (path) => {
    let node: ReturnType<typeof findNodeAtLocation>;
    for (let depth = path.length; depth >= 0 && tree && !node; depth -= 1) {
      node = findNodeAtLocation(tree, path.slice(0, depth) as (string | number)[]);
    }
    return lineOf(text, node?.offset ?? 0);
  };
}

/** zod's issues as problems; of a union, those of the branch that fits best. */
export function describeIssues(
  issues: readonly z.core.$ZodIssue[],
  input: unknown,
  base: PropertyKey[] = [],
): CatalogProblem[] {
  return issues.flatMap((issue): CatalogProblem[] => {
    const path = [...base, ...issue.path];
    if (issue.code === "invalid_union") {
      const isObject = typeof valueAt(input, path) === "object";
      const branch = issue.errors.find(
        (errors) => isObject === !errors.some((error) => error.path.length === 0 && error.code === "invalid_type"),
      );
      if (branch && isObject) return describeIssues(branch, input, path);
    }
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => ({
        path: [...path, key],
        found: "an unknown field",
        allowed: fieldsAt(path),
      }));
    }
    const found = issue.code === "invalid_key" ? issue.path.at(-1) : valueAt(input, path);
    return [{ path, found: show(found), allowed: allowedBy(issue) }];
  });
}

interface SchemaNode {
  properties?: Record<string, SchemaNode>;
  additionalProperties?: SchemaNode | boolean;
  items?: SchemaNode;
  anyOf?: SchemaNode[];
}

/** The fields that the catalog's schema knows at that place. */
function fieldsAt(path: PropertyKey[]): string {
  let node: SchemaNode | undefined = z.toJSONSchema(catalogSchema, { io: "input" }) as SchemaNode;
  for (const key of path) {
    const next: SchemaNode | boolean | undefined =
      typeof key === "number" ? node?.items : (node?.properties?.[String(key)] ?? node?.additionalProperties);
    node = typeof next === "object" ? (next.anyOf?.find(({ properties }) => properties) ?? next) : undefined;
  }
  return Object.keys(node?.properties ?? {}).join(", ") || "the fields of the schema";
}

function allowedBy(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "invalid_value":
      return `one of ${issue.values.join(", ")}`;
    case "invalid_type":
      return `${/^[aeiou]/.test(issue.expected) ? "an" : "a"} ${issue.expected}`;
    case "too_small":
      return issue.origin === "array" || issue.origin === "string"
        ? `at least ${issue.minimum} of them`
        : issue.inclusive
          ? `${issue.minimum} or more`
          : `more than ${issue.minimum}`;
    case "too_big":
      return `at most ${issue.maximum}`;
    case "invalid_union":
      return "the id of a model, or an object with `model`";
    case "invalid_key":
      return "letters, digits, dots, colons, dashes and underscores";
    case "custom":
      return issue.message.replace(/^.*allowed: /, "");
    default:
      return issue.message;
  }
}

function valueAt(input: unknown, path: PropertyKey[]): unknown {
  return path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown> | undefined | null)?.[key], input);
}

export function fieldName(path: PropertyKey[]): string {
  return (
    path
      .map((key, index) => (typeof key === "number" ? `[${key}]` : `${index > 0 ? "." : ""}${String(key)}`))
      .join("") || "the file"
  );
}

/** A value as JSON, cut short. */
export function show(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

export function lineOf(text: string, offset: number): number {
  return text.slice(0, offset).split("\n").length;
}
