import { text } from "node:stream/consumers";

/**
 * The image's bill of materials: npm's list of the bundled packages (CycloneDX, on standard input) and what is in the agent's
 * layer besides, given as NAME@VERSION. Without the time and the random number that would make two builds differ.
 */

interface Bill {
  serialNumber?: string;
  metadata: { timestamp?: string; component: { name: string; type: string } };
  components: object[];
}

const bill = JSON.parse(await text(process.stdin)) as Bill;
delete bill.serialNumber;
delete bill.metadata.timestamp;
bill.metadata.component = { ...bill.metadata.component, name: "muster", type: "application" };
for (const given of process.argv.slice(2)) {
  const [name, version] = given.split(/@v?/, 2);
  const purl = `pkg:${name === "nodejs" ? "generic" : "deb/debian"}/${name}@${version}`;
  bill.components.push({ "bom-ref": purl, type: "application", name, version, purl });
}
process.stdout.write(`${JSON.stringify(bill, null, 2)}\n`);
