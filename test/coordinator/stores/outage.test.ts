import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { place, startMuster } from "../../e2e/muster.ts";
import { until } from "../../until.ts";
import { CHAT, joinRaw } from "../raw-fleet.ts";

test("while the disk takes nothing jobs get 503, and results wait; after that all goes on", async () => {
  using here = place();
  const store = join(here.folder, "jobs.db");
  await using coordinator = startMuster(["coordinator", "--listen", "127.0.0.1:0", "--store", store], here.env);
  const [, url, wsUrl] =
    /listens on (http:\S+); workers connect with COORDINATOR_URL=(ws:[^\s,]+)/.exec(
      await coordinator.line(/The coordinator listens/),
    ) ?? [];
  /** The same as a full disk: the system lets no file grow. */
  const limitFiles = (bytes: number | "unlimited") =>
    execFileSync("prlimit", ["--pid", String(coordinator.pid), `--fsize=${bytes}:`]);
  const submit = () => fetch(`${url}/v1/jobs`, { method: "POST", body: JSON.stringify(CHAT) });
  const ready = async () => {
    const answer = await fetch(`${url}/readyz`);
    const { reason } = (await answer.json()) as { reason?: string };
    return { status: answer.status, reason };
  };
  using worker = await joinRaw(wsUrl!, { credit: 2 });
  const { id } = (await (await submit()).json()) as { id: string };
  const offer = await worker.offer();
  worker.accept(offer);
  expect(await ready()).toMatchObject({ status: 200 });

  limitFiles(4096);
  const refused = await submit();
  expect(refused.status).toBe(503);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  expect(await refused.json()).toMatchObject({ error: { code: "store_unavailable" } });
  expect(await ready()).toMatchObject({ status: 503, reason: expect.stringMatching(/^The database cannot be used/) });
  worker.answer(offer, "hi");
  await coordinator.line(/jobs cannot be kept just now/);
  expect(await (await fetch(`${url}/v1/jobs/${id}`)).json()).toMatchObject({ state: "assigned" });
  expect(await ready()).toMatchObject({ status: 503 });
  expect(worker.all("result.ack")).toEqual([]);

  limitFiles("unlimited");
  await until("the result is kept", () => worker.all("result.ack")[0]);
  expect(await (await fetch(`${url}/v1/jobs/${id}`)).json()).toMatchObject({ state: "done", attempt: 1 });
  await until("it is ready again", async () => (await ready()).status === 200);
  expect((await submit()).status).toBe(202);
  expect(await worker.offer(2)).toMatchObject({ attempt: 1 });
});
