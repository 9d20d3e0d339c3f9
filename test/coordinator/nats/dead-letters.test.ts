import { beforeEach, expect, test } from "vitest";
import { natsBackend } from "../../../src/coordinator/nats/open-nats.ts";
import { until } from "../../until.ts";
import { CHAT, joinRaw, startRawCoordinator } from "../raw-fleet.ts";
import { startNatsServer, withoutNats } from "./nats-server.ts";

beforeEach(({ skip }) => skip(withoutNats, "nats-server is not installed"));

const FAILED = {
  status: "failed",
  output: undefined,
  error: { code: "GPU_LOST", message: "It fell off the bus.", retryable: true },
} as const;

test("a job that has used up its attempts is a dead letter, is listed at every gateway, and can be done anew", async () => {
  await using server = await startNatsServer();
  const { prefix } = server.options();
  const start = () => startRawCoordinator({ backend: natsBackend(server.options({ prefix })) });
  await using a = await start();
  await using b = await start();
  const call = async (method: string, path: string, body?: object) => {
    const response = await fetch(b.url + path, { method, ...(body ? { body: JSON.stringify(body) } : {}) });
    // biome-ignore lint/suspicious/noExplicitAny: whatever the API answers
    return { status: response.status, body: (await response.json()) as any };
  };
  using worker = await joinRaw(a.wsUrl, { credit: 9 });
  const input = { messages: [{ role: "user", content: "a secret of the client's" }] };
  const job = { ...CHAT, input, id: "poison", maxAttempts: 2, keepInput: true };
  expect((await call("POST", "/v1/jobs", job)).status).toBe(202);
  for (const n of [1, 2]) {
    const offer = await worker.offer(n);
    expect(offer).toMatchObject({ jobId: "poison", attempt: n });
    worker.accept(offer);
    worker.answer(offer, "", FAILED);
  }
  await until("it has failed", async () => (await b.jobs.get("poison"))?.state === "failed");

  // What `nats stream view muster_DEAD` shows.
  const link = await server.link(prefix);
  const stream = link.names.called("DEAD");
  const find = () => link.jsm.streams.getMessage(stream, { last_by_subj: link.names.dead(job) });
  const letter = await until("its letter is there", () => find().catch(() => null));
  expect(letter.json()).toMatchObject({ id: "poison", state: "failed", attempt: 2, outcome: { error: FAILED.error } });
  expect(letter.string()).not.toContain("secret");

  const { data } = (await call("GET", "/v1/jobs?state=failed")).body;
  expect(data).toMatchObject([{ id: "poison", attempt: 2, error: FAILED.error }]);
  const again = await call("POST", "/v1/jobs/poison/retry");
  expect(again).toMatchObject({ status: 202, body: { state: "queued", kind: "chat", model: CHAT.model } });
  expect(again.body.id).not.toBe("poison");
  const offer = await worker.offer(3);
  expect(offer).toMatchObject({ jobId: again.body.id, attempt: 1, input });
  worker.answer(offer, "done");
  await until("it is done", async () => (await a.jobs.get(again.body.id))?.state === "done");
  // Asked for twice it is one job.
  expect((await call("POST", "/v1/jobs/poison/retry")).body).toMatchObject({ id: again.body.id, state: "done" });
  expect((await link.jsm.streams.info(stream)).state.messages).toBe(1);
});

test("a letter that NATS could not take is written once it is back", async () => {
  await using server = await startNatsServer();
  const { prefix } = server.options();
  await using gateway = await startRawCoordinator({ backend: natsBackend(server.options({ prefix })) });
  using worker = await joinRaw(gateway.wsUrl);
  const { id } = await gateway.jobs.submit({ ...CHAT, maxAttempts: 1 });
  const offer = await worker.offer();
  const link = await server.link(prefix);
  const stream = link.names.called("DEAD");
  // Full: the letter is refused, the end of the job is not.
  const { config } = await link.jsm.streams.info(stream);
  await link.jsm.streams.update(stream, { ...config, max_msg_size: 1 });
  worker.answer(offer, "", FAILED);
  await until("it has failed", async () => (await gateway.jobs.get(id))?.state === "failed");
  await link.jsm.streams.update(stream, { ...config, max_msg_size: -1 });
  const letters = async () => (await link.jsm.streams.info(stream)).state.messages;
  await until("its letter is there", async () => (await letters()) === 1);
});
