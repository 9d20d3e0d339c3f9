import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";

/**
 * The image's bill of materials (CycloneDX): of npm's list of all packages (on standard input) those that a worker needs, and
 * what is in the agent's layer besides, given as NAME@VERSION. Without the time and the random number that would make two
 * builds differ. `npm sbom --omit=dev` is no help: it leaves out what tools for development happen to need as well.
 */

interface Bill {
  serialNumber?: string;
  metadata: { timestamp?: string; component: { "bom-ref": string; name: string; type: string } };
  components: { "bom-ref": string; type: string; name: string; version?: string; purl?: string }[];
  dependencies: { ref: string; dependsOn: string[] }[];
}

interface Locked {
  version?: string;
  name?: string;
  dev?: boolean;
  optional?: boolean;
  devOptional?: boolean;
}

const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8")) as { packages: Record<string, Locked> };
const needed = new Set(
  Object.entries(packages)
    .filter(([path, { dev, optional, devOptional }]) => path !== "" && !dev && !optional && !devOptional)
    .map(([path, { name, version }]) => `${name ?? path.split("node_modules/").at(-1)}@${version}`),
);

const bill = JSON.parse(await text(process.stdin)) as Bill;
delete bill.serialNumber;
delete bill.metadata.timestamp;
bill.metadata.component = { ...bill.metadata.component, name: "muster", type: "application" };
bill.components = bill.components.filter(({ name, version }) => needed.has(`${name}@${version}`));
const refs = new Set([bill.metadata.component["bom-ref"], ...bill.components.map((each) => each["bom-ref"])]);
bill.dependencies = bill.dependencies
  .filter(({ ref }) => refs.has(ref))
  .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((each) => refs.has(each)) }));
for (const given of process.argv.slice(2)) {
  const [name = "", version] = given.split(/@v?/, 2);
  const purl = `pkg:${name === "nodejs" ? "generic" : "deb/debian"}/${name}@${version}`;
  bill.components.push({ "bom-ref": purl, type: "application", name, version, purl });
}
process.stdout.write(`${JSON.stringify(bill, null, 2)}\n`);
