import { join } from "node:path";
import { expect, test } from "vitest";
import { acquireLease } from "../../src/store/lease.ts";
import { until } from "../until.ts";
import { httpOf, place, startMuster } from "./muster.ts";
import { MINILM, startMiniLmHub, WEIGHTS } from "./services.ts";

test("what an agent fetches is counted: bytes by what became of them, retries by why, ends by how, and waits", async () => {
  await using hub = await startMiniLmHub(4 << 20);
  hub.faults.flipByte = { path: WEIGHTS, offset: 1000, times: 1 };
  hub.faults.serverError = { host: "cdn", times: 1 };
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, MAX_CONNECTIONS: "1" });
  const folder = join(here.volume, ".muster/leases", "huggingface%3asentence-transformers--all-MiniLM-L6-v2");
  const lease = await acquireLease(folder, { what: MINILM });
  await using agent = startMuster(["start"], here.env);
  const url = await httpOf(agent);
  await agent.line(/Waiting for /);
  await lease.release();
  await agent.line(/Ready: every required model/);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const value = (sample: string) =>
    Number(
      metrics
        .split("\n")
        .find((line) => line.startsWith(`${sample} `))
        ?.slice(sample.length),
    );
  const bytes = (outcome: string) => value(`muster_fetch_bytes_total{source="huggingface",outcome="${outcome}"}`);
  const size = value('muster_model_bytes{model="all-minilm-l6-v2"}');
  // The file that came wrong came twice.
  expect(bytes("discarded")).toBeGreaterThan(4 << 20);
  expect(bytes("fetched")).toBe(size + bytes("discarded"));
  const retried = (code: string) => value(`muster_fetch_retries_total{source="huggingface",code="${code}"}`);
  expect(retried("DIGEST_MISMATCH")).toBe(1);
  expect(retried("SERVER_ERROR")).toBe(1);
  expect(value('muster_fetches_total{source="huggingface",outcome="stored"}')).toBe(1);
  expect(value('muster_fetch_duration_seconds_count{source="huggingface"}')).toBe(1);
  expect(value("muster_lease_wait_seconds_count")).toBe(1);
  // The optional model, which no registry has: a fetch that failed is told by its code.
  await until("that is told", async () =>
    /muster_fetches_total\{source="ollama",outcome="[A-Z_]+"\} \d+/.test(await (await fetch(`${url}/metrics`)).text()),
  );
});
