import { parseArgs } from "node:util";
import { runChaos } from "../test/e2e/chaos/chaos.ts";

/** The long chaos run: `npm run chaos -- --jobs 10000 --seed 1`. With `--store nats` on three gateways. Exits 1 where a job was lost, wrong, or run twice at once. */

const { values } = parseArgs({
  options: {
    jobs: { type: "string", default: "2000" },
    seed: { type: "string", default: "1" },
    store: { type: "string", default: "sqlite" },
    logs: { type: "string" },
    help: { type: "boolean" },
  },
});
if (values.help) {
  process.stdout.write("usage: npm run chaos -- [--jobs 2000] [--seed 1] [--store sqlite|nats] [--logs FOLDER]\n");
} else {
  const startedAt = performance.now();
  const say = (line: string) =>
    void process.stdout.write(`${((performance.now() - startedAt) / 1000).toFixed(1).padStart(6)} s  ${line}\n`);
  const jobs = Number(values.jobs);
  const store = values.store === "nats" ? "nats" : "sqlite";
  const report = await runChaos({ jobs, seed: Number(values.seed), store, logs: values.logs, say });
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  const ended = report.done + Object.values(report.failed).reduce((sum, count) => sum + count, 0);
  const isRight = ended === jobs && report.wrong.length === 0 && report.overlaps.length === 0;
  process.exitCode = isRight ? 0 : 1;
}
