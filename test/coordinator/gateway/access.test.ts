import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openClientKeys, openTls } from "../../../src/coordinator/files.ts";
import { parseClientKeys } from "../../../src/coordinator/gateway/access/client-keys.ts";
import { digestOf } from "../../../src/coordinator/gateway/access/secret.ts";
import { hasOpenssl, makeAuthority } from "../../authority.ts";
import { keptLog, quietLog, startWorker } from "../../register/worker.ts";
import { until } from "../../until.ts";
import { startFleet } from "../fleet.ts";
import { CHAT, joinRaw, startRawCoordinator } from "../raw-fleet.ts";

const KEYS = { alice: "alice-secret-0123456789", bob: "bob-secret-0123456789", admin: "admin-secret-0123456789" };
const WORKER = "worker-secret-0123456789";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "muster-keys-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function options(limits: object = {}) {
  const file = JSON.stringify([
    { name: "alice", sha256: digestOf(KEYS.alice).toString("hex"), ...limits },
    { name: "bob", key: KEYS.bob },
  ]);
  const clientKeys = parseClientKeys(file, "keys.json");
  return { workerToken: WORKER, clientToken: null, adminToken: KEYS.admin, clientKeys: () => clientKeys };
}

function caller(url: string, token: string | null) {
  return async (method: string, path: string, body?: object, more: Record<string, string> = {}) => {
    const headers = { ...(token === null ? {} : { authorization: `Bearer ${token}` }), ...more };
    const response = await fetch(url + path, { method, headers, ...(body ? { body: JSON.stringify(body) } : {}) });
    // biome-ignore lint/suspicious/noExplicitAny: whatever the API answers
    const json = (await response.json().catch(() => null)) as any;
    return { status: response.status, headers: response.headers, body: json };
  };
}

const CHAT_REQUEST = { model: "tiny", messages: [{ role: "user", content: "Hi" }] };

describe("keys", () => {
  test("of clients, administrators and workers open different doors", async () => {
    await using fleet = await startFleet(options(), { token: WORKER });
    const { url, wsUrl } = fleet.coordinator;
    const [alice, bob, admin] = [KEYS.alice, KEYS.bob, KEYS.admin].map((key) => caller(url, key));
    expect(await alice!("GET", "/v1/models")).toMatchObject({ status: 200 });
    expect(await alice!("GET", "/v1/workers")).toMatchObject({
      status: 403,
      body: { error: { type: "permission_error" } },
    });
    expect(await admin!("GET", "/v1/workers")).toMatchObject({ status: 200 });
    for (const token of [WORKER, "nobody", null])
      expect(await caller(url, token)("GET", "/v1/models")).toMatchObject({ status: 401 });
    await using refused = startWorker(wsUrl, { workerId: "w2", token: async () => KEYS.alice });
    await until("it is refused", () => refused.board.current.coordinator?.error);

    const { body: job } = await alice!("POST", "/v1/jobs", { kind: "chat", model: "tiny", input: CHAT_REQUEST });
    expect(await alice!("GET", `/v1/jobs/${job.id}`)).toMatchObject({ status: 200, body: { client: "alice" } });
    expect((await bob!("GET", `/v1/jobs/${job.id}`)).status).toBe(404);
    expect((await bob!("POST", `/v1/jobs/${job.id}/cancel`)).status).toBe(404);
    expect((await bob!("GET", `/v1/jobs/${job.id}/events`)).status).toBe(404);
    expect((await bob!("GET", "/v1/jobs")).body.data).toEqual([]);
    expect((await admin!("GET", "/v1/jobs")).body.data).toMatchObject([{ id: job.id }]);
  });

  test("have limits: models, requests a minute, tokens a day, and priority", async () => {
    const limits = { models: ["org/tiny"], requestsPerMinute: 3, tokensPerDay: 15, priority: 1 };
    await using fleet = await startFleet(options(limits), { token: WORKER });
    const alice = caller(fleet.coordinator.url, KEYS.alice);
    expect((await alice("GET", "/v1/models")).body.data.map(({ id }: { id: string }) => id)).toEqual(["tiny"]);
    const other = await alice("POST", "/v1/embeddings", { model: "vectors", input: "a" });
    expect(other).toMatchObject({ status: 403, body: { error: { type: "permission_error" } } });
    const first = await alice("POST", "/v1/chat/completions", CHAT_REQUEST, { "x-muster-priority": "50" });
    expect(first.status).toBe(200);
    const job = await fleet.coordinator.jobs.get(first.headers.get("x-muster-job-id")!);
    expect(job).toMatchObject({ priority: 1, client: "alice" });
    expect((await alice("POST", "/v1/chat/completions", CHAT_REQUEST)).status).toBe(200);
    const often = await alice("POST", "/v1/chat/completions", CHAT_REQUEST);
    expect(often).toMatchObject({ status: 429, body: { error: { code: "rate_limit_exceeded" } } });
    expect(Number(often.headers.get("retry-after"))).toBeGreaterThan(0);

    const spent = options({ tokensPerDay: 15 });
    await using again = await startFleet(spent, { token: WORKER });
    const frugal = caller(again.coordinator.url, KEYS.alice);
    for (const status of [200, 200, 429]) {
      expect((await frugal("POST", "/v1/chat/completions", CHAT_REQUEST)).status).toBe(status);
    }
    expect((await frugal("POST", "/v1/chat/completions", CHAT_REQUEST)).body.error.code).toBe("insufficient_quota");
    expect((await caller(again.coordinator.url, KEYS.bob)("POST", "/v1/chat/completions", CHAT_REQUEST)).status).toBe(
      200,
    );
  });

  test("may use a model by each of its names, for jobs as for chats, and no other by one that looks like it", async () => {
    await using fleet = await startFleet(options({ models: ["org/tiny", "org-eyes"] }), { token: WORKER });
    const alice = caller(fleet.coordinator.url, KEYS.alice);
    const { messages } = CHAT_REQUEST;
    for (const [model, status] of Object.entries({ tiny: 202, "org/tiny": 202, "org-tiny": 202, vectors: 403 })) {
      const job = { kind: "chat", model, input: { messages } };
      expect((await alice("POST", "/v1/jobs", job)).status, model).toBe(status);
      const chat = await alice("POST", "/v1/chat/completions", { model, messages });
      expect(chat.status, model).toBe(status === 202 ? 200 : 403);
    }
    // Named so in the file it is a model of that name, not org/eyes.
    const eyes = { kind: "chat", model: "org-eyes", input: { messages } };
    expect((await alice("POST", "/v1/jobs", eyes)).status).toBe(403);
  });

  test("of which one may run few jobs at once leave the rest of the fleet to others", async () => {
    await using peer = await startRawCoordinator(options({ concurrent: 1, queued: 2 }));
    using worker = await joinRaw(peer.wsUrl, { credit: 9, token: WORKER });
    const submit = (client: string, id: string) => peer.jobs.submit({ ...CHAT, client, id });
    await submit("alice", "a1");
    await worker.offer(1);
    for (const id of ["a2", "a3"]) await submit("alice", id);
    await expect(submit("alice", "a4")).rejects.toMatchObject({ code: "QUEUE_FULL" });
    await submit("bob", "b1");
    await submit("bob", "b2");
    await worker.offer(3);
    expect(worker.all("job.offer").map(({ jobId }) => jobId)).toEqual(["a1", "b1", "b2"]);
    worker.answer({ jobId: "a1", attempt: 1 }, "done");
    expect((await worker.offer(4)).jobId).toBe("a2");
  });

  test("are guessed slowly", async () => {
    await using peer = await startRawCoordinator(options());
    const guess = caller(peer.url, "wrong");
    const statuses: number[] = [];
    for (let n = 0; n < 30; n += 1) statuses.push((await guess("GET", "/v1/models")).status);
    expect(statuses.at(0)).toBe(401);
    expect(statuses.at(-1)).toBe(429);
    expect((await caller(peer.url, KEYS.alice)("GET", "/v1/models")).status).toBe(429);
  });
});

describe("the file of keys", () => {
  test("may be lines of names and keys, or of digests", () => {
    const digest = digestOf(KEYS.bob).toString("hex");
    const keys = parseClientKeys(`# ours\nalice ${KEYS.alice}\nbob ${digest} # the digest\n\n`, "keys");
    expect(keys.map(({ name, digest }) => [name, digest.toString("hex")])).toEqual([
      ["alice", digestOf(KEYS.alice).toString("hex")],
      ["bob", digest],
    ]);
  });

  test.each([
    ["[", "the file is not JSON"],
    ['[{"name":"a b","key":"0123456789abcdef"}]', "entry 1, name"],
    ['[{"name":"a"}]', "give key or sha256"],
    ['[{"name":"a","key":"short"}]', "entry 1, key"],
    ['[{"name":"a","key":"0123456789abcdef","speed":1}]', "speed"],
    ["a 0123456789abcdef\na fedcba9876543210", "two keys are named a"],
    ["alice", "entry 1, key"],
  ])("%s is refused", (text, why) => {
    expect(() => parseClientKeys(text, "keys")).toThrow(expect.objectContaining({ code: "CONFIG_INVALID" }));
    expect(() => parseClientKeys(text, "keys")).toThrow(why);
    expect(() => parseClientKeys(text, "keys")).not.toThrow("0123456789abcdef");
  });

  test("is read again when it changes, and what is wrong with it changes nothing", async () => {
    const file = join(folder, "keys");
    const put = (text: string) => {
      writeFileSync(`${file}.new`, text);
      renameSync(`${file}.new`, file);
    };
    put(`alice ${KEYS.alice}\n`);
    const { log, lines } = keptLog();
    const clientKeys = openClientKeys(file, log)!;
    await using peer = await startRawCoordinator({ ...options(), clientKeys });
    const status = async (key: string) => (await caller(peer.url, key)("GET", "/v1/models")).status;
    expect(await status(KEYS.alice)).toBe(200);
    put("alice");
    await until("the fault is told", () => {
      clientKeys();
      return lines.some(({ level }) => level === 40);
    });
    expect(await status(KEYS.alice)).toBe(200);
    put(`bob ${KEYS.bob}\n`);
    await until("bob gets in", async () => (await status(KEYS.bob)) === 200);
    expect(await status(KEYS.alice)).toBe(401);
    expect(JSON.stringify(lines)).not.toContain(KEYS.bob);
  });
});

describe("pages of browsers", () => {
  const page = (origin: string) => ({ origin });

  test("get in from origins that are allowed, or the coordinator's own", async () => {
    await using peer = await startRawCoordinator({ ...options(), corsOrigins: ["https://app.example"] });
    const alice = caller(peer.url, KEYS.alice);
    const app = await alice("GET", "/v1/models", undefined, page("https://app.example"));
    expect(app.status).toBe(200);
    expect(app.headers.get("access-control-allow-origin")).toBe("https://app.example");
    expect((await alice("GET", "/v1/models", undefined, page(peer.url))).status).toBe(200);
    const stranger = await alice("GET", "/v1/models", undefined, page("https://evil.example"));
    expect(stranger).toMatchObject({ status: 403, body: { error: { type: "permission_error" } } });
    expect(stranger.headers.has("access-control-allow-origin")).toBe(false);
    const before = await fetch(`${peer.url}/v1/chat/completions`, {
      method: "OPTIONS",
      headers: { ...page("https://app.example"), "access-control-request-method": "POST" },
    });
    expect(before.status).toBe(204);
    expect(before.headers.get("access-control-allow-methods")).toContain("POST");
  });

  test("do not, without tokens, by a name that leads here", async () => {
    await using peer = await startRawCoordinator();
    const ask = (host: string) =>
      new Promise((resolve, reject) => {
        const headers = { host: `${host}:${peer.port}` };
        get(`${peer.url}/v1/models`, { headers, agent: false }, (answer) => resolve(answer.resume().statusCode)).on(
          "error",
          reject,
        );
      });
    expect(await ask("localhost")).toBe(200);
    expect(await ask("evil.example")).toBe(403);
  });
});

if (!hasOpenssl) {
  test.skip("TLS: openssl is not on this machine, so there is no certificate to test with", () => undefined);
} else {
  test("workers show a certificate where one is asked for; clients need none; a new one is taken as it comes", async () => {
    const first = await makeAuthority();
    const [cert, key, clientCa] = ["cert.pem", "key.pem", "ca.pem"].map((name) => join(folder, name));
    const put = ({ ca, cert: certificate, key: secret }: Awaited<ReturnType<typeof makeAuthority>>) => {
      writeFileSync(key!, secret);
      writeFileSync(clientCa!, ca);
      writeFileSync(cert!, certificate);
    };
    put(first);
    const tls = openTls({ tlsCertFile: cert!, tlsKeyFile: key!, tlsClientCaFile: clientCa! }, quietLog)!;
    await using peer = await startRawCoordinator({ ...options(), tls });
    const status = (ca: Buffer) =>
      new Promise((resolve) => {
        const headers = { authorization: `Bearer ${KEYS.alice}` };
        request(`${peer.url}/v1/models`, { ca, headers, agent: false }, (answer) => {
          answer.resume();
          resolve(answer.statusCode);
        })
          .on("error", resolve)
          .end();
      });
    expect(await status(first.ca)).toBe(200);
    const token = async () => WORKER;
    await using without = startWorker(peer.wsUrl, { workerId: "without", token, ca: first.ca });
    expect(await until("it is refused", () => without.board.current.coordinator?.error)).toContain("401");
    const certificate = async () => ({ cert: first.cert.toString(), key: first.key.toString() });
    await using _worker = startWorker(peer.wsUrl, { token, ca: first.ca, certificate });
    await until("it is registered", () => peer.workers().some(({ id }) => id === "worker-1"));

    const second = await makeAuthority();
    put(second);
    await until("the new certificate is shown", async () => (await status(second.ca)) === 200);
  });
}
