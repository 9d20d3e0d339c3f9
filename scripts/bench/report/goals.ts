import type { Figures } from "../measure.ts";
import type { ScenarioName } from "../scenarios.ts";
import { aria2c, python } from "../tools/clients.ts";
import { curl, curlTeeOpenssl, curlThenOpenssl } from "../tools/curl.ts";
import { hashFloor } from "../tools/floors.ts";
import { muster, musterUnverified } from "../tools/muster.ts";
import type { Tool } from "../tools/tool.ts";
import { mediansOf } from "./medians.ts";
import type { Results } from "./results.ts";

/** What muster has set itself, and whether the figures say so. */
export interface Goal {
  what: string;
  unit: "" | "ms" | "MiB";
  atMost: number;
  /** null where it was not measured. */
  measured: number | null;
}

type Table = Map<string, Map<string, Figures>>;

export function checkGoals(results: Results): Goal[] {
  const table: Table = new Map(results.scenarios.map((scenario) => [scenario.name, mediansOf(scenario)]));
  const title = (name: ScenarioName) => results.scenarios.find((scenario) => scenario.name === name)?.title ?? name;
  const against = (scenario: ScenarioName, other: Tool, atMost: number): Goal => ({
    what: `${title(scenario)}: wall of ${other.name}`,
    unit: "",
    atMost,
    measured: ratio(table, { scenario, other }),
  });
  const cpu = (scenario: ScenarioName): Goal => ({
    what: `${title(scenario)}: CPU of ${curlThenOpenssl.name}`,
    unit: "",
    atMost: 0.9,
    measured: ratio(table, { scenario, other: curlThenOpenssl, key: "cpu" }),
  });
  const peaks = [...table.values()].flatMap((tools) => tools.get(muster.name)?.rssMib ?? []);
  const warm = table.get("warm")?.get(muster.name);
  return [
    against("one-file", python, 0.8),
    against("one-file", curlTeeOpenssl, 0.7),
    against("one-file", hashFloor, 1.08),
    against("many-files", python, 0.68),
    against("many-files", hashFloor, 1.25),
    against("slow-hash", python, 0.8),
    against("slow-hash", curlTeeOpenssl, 0.7),
    against("slow-hash", hashFloor, 1.08),
    against("slow-hashes", python, 0.68),
    against("slow-hashes", hashFloor, 1.25),
    against("small-files", python, 0.15),
    against("small-files", curl, 1.6),
    against("capped", aria2c, 1.05),
    against("capped", python, 0.4),
    against("long", aria2c, 1.05),
    against("long", python, 0.4),
    against("lossy", aria2c, 1.05),
    against("lossy", python, 0.4),
    cpu("one-file"),
    cpu("many-files"),
    cpu("slow-hash"),
    cpu("slow-hashes"),
    {
      what: "Peak RSS, the largest of all scenarios",
      unit: "MiB",
      atMost: 130,
      measured: peaks.length > 0 ? Math.max(...peaks) : null,
    },
    {
      ...against("unverified", curl, 0.85),
      measured: ratio(table, { scenario: "unverified", subject: musterUnverified, other: curl }),
    },
    against("https", curl, 1.15),
    { what: `${title("warm")}: wall`, unit: "ms", atMost: 160, measured: warm ? warm.wall * 1000 : null },
    against("warm", python, 0.25),
  ];
}

interface Comparison {
  scenario: ScenarioName;
  other: Tool;
  subject?: Tool;
  key?: keyof Figures;
}

function ratio(table: Table, { scenario, other, subject = muster, key = "wall" }: Comparison): number | null {
  const tools = table.get(scenario);
  const [ours, theirs] = [tools?.get(subject.name), tools?.get(other.name)];
  return ours && theirs ? ours[key] / theirs[key] : null;
}
