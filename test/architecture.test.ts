import { globSync, readFileSync } from "node:fs";
import { basename, join, normalize } from "node:path";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "..");
const sources = globSync("src/**/*.ts", { cwd: root }).toSorted();

/** The steps put together; everything else directly in src is the ground, and so are the settings. */
const COMPOSITION = [
  ...["src/main.ts", "src/agent.ts", "src/agent-view.ts", "src/plan.ts"],
  ...["src/allowed-model.ts", "src/open-models.ts", "src/remembered-models.ts", "src/run-time-models.ts"],
  ...["src/take-away.ts", "src/until-chosen.ts"],
];
const VERBS = ["detect", "select", "fetch", "register", "serve", "http"];

/** What each layer may import: layers, or single files. */
const MAY_IMPORT: Record<string, string[]> = {
  ground: ["ground"],
  store: ["ground", "store"],
  ...Object.fromEntries(VERBS.map((verb) => [verb, ["ground", verb]])),
  fetch: ["ground", "fetch", "store"],
  cli: ["ground", "cli", "store", "detect", "select", "fetch", "src/http/readiness.ts", "src/plan.ts"],
  coordinator: ["ground", "coordinator"],
  composition: ["ground", "composition", ...VERBS],
};

/** Beyond that, file by file. */
const EXCEPTIONS: Record<string, { imports: string[]; because: string }> = {
  "src/main.ts": { imports: ["cli"], because: "it starts the commands" },
  "src/cli/start.ts": { imports: ["src/agent.ts"], because: "it runs the agent" },
  "src/cli/coordinator.ts": { imports: ["coordinator"], because: "it runs the coordinator" },
  "src/cli/doctor/coordinator.ts": {
    imports: ["src/register/handshake.ts"],
    because: "`muster doctor` shows the coordinator the token as the agent does",
  },
  "src/remembered-models.ts": {
    imports: ["src/store/write-durably.ts"],
    because: "its file has to be whole after a power cut, too",
  },
  "src/agent-view.ts": {
    imports: ["src/store/layout.ts"],
    because: "fetch hands the layout on, and it needs the type",
  },
};

/** Packages that are listed and not imported. */
const NOT_IMPORTED_YET: Record<string, string> = {};

interface Import {
  from: string;
  to: string;
}

/** Static and dynamic imports and re-exports. */
function importsOf(from: string): Import[] {
  const text = readFileSync(join(root, from), "utf8");
  const statements = text.matchAll(/^(?:import|export)\s+(?:type\s)?(?:[\w\s{},*]+?\sfrom\s+)?"([^"]+)"/gm);
  const calls = text.matchAll(/\bimport\(\s*"([^"]+)"\s*\)/g);
  return [
    ...[...statements].map(([, to]) => ({ from, to: resolve(from, to!) })),
    ...[...calls].map(([, to]) => ({ from, to: resolve(from, to!) })),
  ];
}

function resolve(from: string, to: string): string {
  return to.startsWith(".") ? normalize(join(from, "..", to)) : to;
}

function layerOf(file: string): string {
  if (COMPOSITION.includes(file)) return "composition";
  const [, folder, ...rest] = file.split("/");
  return rest.length > 0 && folder !== "settings" ? folder! : "ground";
}

const all = sources.flatMap(importsOf);
const inside = all.filter(({ to }) => to.startsWith("src/"));

const permits = (allowed: string[], to: string) => allowed.includes(to) || allowed.includes(layerOf(to));

describe("layers", () => {
  it("are all known, and every import of a file is found", () => {
    expect(sources.filter((file) => !(layerOf(file) in MAY_IMPORT))).toEqual([]);
    expect(COMPOSITION.filter((file) => !sources.includes(file))).toEqual([]);
    expect(inside.filter(({ to }) => !sources.includes(to))).toEqual([]);
    expect(all.length).toBe(
      sources.flatMap((file) => [...readFileSync(join(root, file), "utf8").matchAll(ANY)]).length,
    );
  });

  it("import only what they may", () => {
    const wrong = inside.filter(
      ({ from, to }) => !permits([...MAY_IMPORT[layerOf(from)]!, ...(EXCEPTIONS[from]?.imports ?? [])], to),
    );
    expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });

  it("need every exception", () => {
    const needless = Object.entries(EXCEPTIONS).flatMap(([file, { imports }]) =>
      imports.filter((allowed) => !inside.some(({ from, to }) => from === file && permits([allowed], to))),
    );
    expect(needless).toEqual([]);
  });
});

/** Anything that looks like an import, to hold the parser above against. */
const ANY = /(?:^import\s+"|\bfrom "|\bimport\(\s*")/gm;

it("no file imports itself by way of others", () => {
  const next = Map.groupBy(inside, ({ from }) => from);
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (file: string, path: string[]) => {
    if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(" → "));
    if (path.includes(file) || done.has(file)) return;
    for (const { to } of next.get(file) ?? []) visit(to, [...path, file]);
    done.add(file);
  };
  for (const file of sources) visit(file, []);
  expect(circles).toEqual([]);
});

it("no file or folder has a name that says nothing", () => {
  const files = globSync(["{src,test,scripts}/**"], { cwd: root });
  expect(files.length).toBeGreaterThan(sources.length);
  expect(files.filter((file) => /^(utils?|helpers?|commons?|misc)(\.|$)/.test(basename(file)))).toEqual([]);
});

it("every source file is shorter than 280 lines", () => {
  const long = [...sources, ...globSync("src/**/*.js", { cwd: root })]
    .map((file) => ({ file, lines: readFileSync(join(root, file), "utf8").split("\n").length - 1 }))
    .filter(({ lines }) => lines >= 280);
  expect(long).toEqual([]);
});

it("no file imports what makes every start slow", () => {
  const slow = [
    { pattern: /^import (?!type ).* from "node:https?";/m, instead: "src/node-http.ts" },
    // Bundlers keep all of zod, messages in fifty languages among them, for the object `z`.
    { pattern: /^import (type )?\{.*\} from "zod";/m, instead: 'import * as z from "zod"' },
  ];
  const found = sources.flatMap((file) => {
    const text = readFileSync(join(root, file), "utf8");
    return slow.filter(({ pattern }) => pattern.test(text)).map(({ instead }) => `${file}: take ${instead}`);
  });
  expect(found).toEqual([]);
});

describe("packages", () => {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Record<string, object>;
  const listed = Object.keys(manifest.dependencies!);
  const tools = Object.keys(manifest.devDependencies!);
  const packageOf = (name: string) => name.split("/", name.startsWith("@") ? 2 : 1).join("/");
  const packagesIn = (files: string[]) =>
    new Set(
      files
        .flatMap(importsOf)
        .map(({ to }) => to)
        .filter((to) => !/^(node:|src\/|test\/|scripts\/|\.\.?\/|package\.json$|vitest\.config)/.test(to))
        .map(packageOf),
    );
  const imported = packagesIn(sources);

  it("that sources import are listed as dependencies", () => {
    expect([...imported].filter((name) => !listed.includes(name))).toEqual([]);
  });

  it("that are listed are imported", () => {
    const missing = listed.filter((name) => !imported.has(name));
    expect(missing).toEqual(Object.keys(NOT_IMPORTED_YET));
  });

  it("that tests and scripts import are listed", () => {
    const others = packagesIn(globSync(["{test,scripts}/**/*.ts", "*.ts"], { cwd: root }));
    expect([...others].filter((name) => ![...listed, ...tools].includes(name))).toEqual([]);
    expect(others).toContain("vitest");
  });

  it("hold the ones that were asked for", () => {
    const given = "execa ollama @huggingface/hub ws pino zod p-retry check-disk-space".split(" ");
    expect(listed).toEqual(expect.arrayContaining(given));
    expect(tools).toContain("vitest");
  });
});
