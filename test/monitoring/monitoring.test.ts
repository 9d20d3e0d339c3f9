import { spawnSync } from "node:child_process";
import { mkdtempDisposableSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, test } from "vitest";
import { describedMetrics } from "../described-metrics.ts";
import { namesIn } from "./expressions.ts";

const root = join(import.meta.dirname, "../..");
const read = (file: string) => readFileSync(join(root, file), "utf8");
const FOLDER = "docker/monitoring";

/** Name, expression and the rest of each alert, as docker/monitoring/alerts.yml writes them. */
const alerts = read(`${FOLDER}/alerts.yml`)
  .split(/^ {6}- alert: /m)
  .slice(1)
  .map((text) => {
    const [, block, line = ""] = /^ {8}expr: (?:>-\n((?: {10}.*\n)+)|(.+)\n)/m.exec(text) ?? [];
    return { name: text.split("\n", 1)[0]!, expression: (block ?? line).replace(/\s+/g, " ").trim(), text };
  });

interface Panel {
  title: string;
  type: string;
  id: number;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: { expr: string }[];
}
const dashboard = JSON.parse(read(`${FOLDER}/dashboard.json`)) as {
  panels: Panel[];
  templating: { list: { name: string; query: string | { query: string } }[] };
};
const shown = dashboard.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })));

const described = Object.values(describedMetrics()).flat();
/** As Prometheus has them, with what it adds itself. */
const metrics = new Map<string, string[]>([
  ["up", ["job"]],
  ["ALERTS", ["alertname", "alertstate"]],
  ...described.flatMap(({ name, type, labelNames }): [string, string[]][] =>
    type === "histogram"
      ? ["_bucket", "_sum", "_count"].map((end) => [name + end, [...labelNames, "le"]])
      : [[name, labelNames]],
  ),
]);

describe("names of metrics and labels", () => {
  it("are found in expressions", () => {
    const expression =
      'sum by (le, kind) (rate(a_b{code=~"x|y{z}",to!="on (q)"}[5m] offset 1h)) / on (w) c unless d > 1e9 or vector(0)';
    expect(namesIn(expression)).toEqual({ metrics: ["a_b", "c", "d"], labels: ["code", "to", "le", "kind", "w"] });
  });

  it.each([
    ...alerts.map(({ name, expression }) => ({ of: name, expression })),
    ...shown.map(({ title, expr }) => ({ of: title, expression: expr })),
  ])("of $of exist", ({ expression }) => {
    const { metrics: named, labels } = namesIn(expression);
    expect(named.length).toBeGreaterThan(0);
    expect(named.filter((name) => !metrics.has(name))).toEqual([]);
    const known = ["instance", "job", ...named.flatMap((name) => metrics.get(name) ?? [])];
    expect(labels.filter((name) => !known.includes(name))).toEqual([]);
  });

  it("that values of labels are compared with exist", () => {
    const jobs = [...read(`${FOLDER}/prometheus.yml`).matchAll(/job_name: (\S+)/g)].map(([, job]) => job);
    expect(jobs.length).toBe(2);
    for (const { expression } of alerts)
      for (const [, job] of expression.matchAll(/job="([^"]+)"/g)) expect(jobs).toContain(job);
  });
});

describe("alerts", () => {
  it("say how bad it is and what happened, and where the way out stands", () => {
    expect(alerts.length).toBeGreaterThan(20);
    expect(new Set(alerts.map(({ name }) => name)).size).toBe(alerts.length);
    const operations = [...read("docs/operations.md").matchAll(/^## (.+)$/gm)].map(([, title = ""]) =>
      title.toLowerCase().replaceAll(" ", "-"),
    );
    for (const { name, text } of alerts) {
      expect(name).toMatch(/^Muster[A-Z][A-Za-z]+$/);
      expect(text).toMatch(/severity: (warning|critical) \}/);
      expect(text).toMatch(/summary: \S/);
      for (const [, title] of text.matchAll(/docs\/operations\.md#(\S+)/g)) expect(operations).toContain(title);
    }
  });

  it("are listed in docs/metrics.md, and no others", () => {
    const listed = [...read("docs/metrics.md").matchAll(/^\| `(Muster\w+)` \|/gm)].map(([, name]) => name);
    expect(listed.toSorted()).toEqual(alerts.map(({ name }) => name).toSorted());
  });

  it("each fire in test/monitoring/alerts.yml", () => {
    const fired = new Set(
      [...read("test/monitoring/alerts.yml").matchAll(/alertname="(\w+)"/g)].map(([, name]) => name),
    );
    expect([...fired].toSorted()).toEqual(alerts.map(({ name }) => name).toSorted());
  });
});

describe("the dashboard", () => {
  it("has panels that do not overlap, with ids of their own", () => {
    const taken = new Set<string>();
    for (const { gridPos, title } of dashboard.panels) {
      const { x, y, w, h } = gridPos;
      expect(x + w).toBeLessThanOrEqual(24);
      for (let i = x; i < x + w; i += 1)
        for (let j = y; j < y + h; j += 1) {
          expect(taken.has(`${i},${j}`), title).toBe(false);
          taken.add(`${i},${j}`);
        }
    }
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
    const rows = dashboard.panels.filter(({ type }) => type === "row").map(({ title }) => title);
    expect(rows).toEqual(["Fleet", "Jobs", "Requests and the store", "Fetch", "Volume"]);
  });

  it("uses variables that it has", () => {
    const names = dashboard.templating.list.map(({ name }) => name);
    const used = [...read(`${FOLDER}/dashboard.json`).matchAll(/\$\{?(\w+)/g)].map(([, name = ""]) => name);
    expect(used.filter((name) => !names.includes(name) && !name.startsWith("__"))).toEqual([]);
  });
});

const promtool = spawnSync("promtool", ["--version"]).status === 0;
const why = promtool ? "" : " (skipped: promtool is not installed; apt-get install --no-install-recommends prometheus)";

test.skipIf(!promtool).each([
  { what: "takes the rules", args: ["check", "rules", `${FOLDER}/alerts.yml`] },
  { what: "takes the configuration", args: ["check", "config", "--syntax-only", `${FOLDER}/prometheus.yml`] },
  { what: "sees each alert fire, and only then", args: ["test", "rules", "test/monitoring/alerts.yml"] },
])(`promtool $what${why}`, ({ args }) => {
  const { status, stdout, stderr } = spawnSync("promtool", args, { cwd: root, encoding: "utf8" });
  expect(status === 0 ? "" : stdout + stderr).toBe("");
});

test.skipIf(!promtool)(`promtool takes every expression of the dashboard${why}`, () => {
  const rules = shown.map(({ expr }, n) => {
    const plain = expr.replaceAll("$__rate_interval", "5m").replaceAll("$worker", ".*");
    return `      - { record: "panel:${n}", expr: ${JSON.stringify(plain)} }\n`;
  });
  using folder = mkdtempDisposableSync(join(tmpdir(), "muster-dashboard-"));
  const file = join(folder.path, "rules.yml");
  writeFileSync(file, `groups:\n  - name: dashboard\n    rules:\n${rules.join("")}`);
  const { status, stdout, stderr } = spawnSync("promtool", ["check", "rules", file], { encoding: "utf8" });
  expect(status === 0 ? "" : stdout + stderr).toBe("");
});

test.skipIf(!promtool)(`promtool finds the metrics of both sides well named${why}`, () => {
  // As the exposition begins: linting looks at names, types and help.
  const input = described
    .filter(({ name, type }) => name.startsWith("muster_") && type !== "histogram")
    .map(({ name, help, type }) => `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name} 1\n`);
  const { status, stdout, stderr } = spawnSync("promtool", ["check", "metrics"], {
    input: input.join(""),
    encoding: "utf8",
  });
  expect(status === 0 ? "" : stdout + stderr).toBe("");
});
