import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { type NatsOptions, openLink } from "../../../src/coordinator/nats/link.ts";
import { natsBackend } from "../../../src/coordinator/nats/open-nats.ts";
import { hasOpenssl, makeAuthority } from "../../authority.ts";
import { place, runMuster, startMuster } from "../../e2e/muster.ts";
import { keptLog, quietLog } from "../../register/worker.ts";
import { until } from "../../until.ts";
import { CHAT, joinRaw, startRawCoordinator } from "../raw-fleet.ts";
import { startNatsServer, withoutNats } from "./nats-server.ts";
import { makeUserCredentials } from "./user-credentials.ts";

const SECRET = "s3cret-of-nats-0123456789";
const WRONG = "wr0ng-secret-of-nats-98765";

let folder: string;
beforeEach(({ skip }) => {
  skip(withoutNats, "nats-server is not installed");
  folder = mkdtempSync(join(tmpdir(), "muster-nats-"));
  return () => rmSync(folder, { recursive: true });
});

function file(name: string, text: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** A gateway with a worker does a job; gives all that was logged, debug lines included. */
async function doesJob(options: NatsOptions): Promise<string> {
  const { log, lines } = keptLog();
  await using gateway = await startRawCoordinator({ backend: natsBackend(options), log });
  using worker = await joinRaw(gateway.wsUrl);
  const { id } = await gateway.jobs.submit(CHAT);
  worker.answer(await worker.offer(), "done");
  await until("it is done", async () => (await gateway.jobs.get(id))?.state === "done");
  return JSON.stringify(lines);
}

/** Why nobody gets in, with all that an operator would see of it. */
async function refusal(options: NatsOptions): Promise<string> {
  const { log, lines } = keptLog();
  const error = await openLink(options, log).then(
    () => null,
    (thrown: unknown) => thrown as Error & { hint: string },
  );
  log.error({ err: error }, "as a gateway says it");
  expect(error).toMatchObject({ code: "CONFIG_INVALID", hint: expect.stringContaining("NATS_") });
  return `${error?.message} ${error?.hint} ${JSON.stringify(lines)}`;
}

describe("a gateway is let in", () => {
  test("with user and password, and a wrong one is said without being shown", async () => {
    await using server = await startNatsServer(`authorization { user: muster, password: "${SECRET}" }`);
    const options = (text: string) =>
      server.options({ credentials: { user: "muster", passwordFile: file("password", `${text}\n`) } });
    expect(await doesJob(options(SECRET))).not.toContain(SECRET);
    const said = await refusal(options(WRONG));
    expect(said).toContain("refuses this gateway");
    expect(said).not.toContain(WRONG);
  });

  test("with a token, read again at each connection", async () => {
    await using server = await startNatsServer(`authorization { token: "${SECRET}" }`);
    const tokenFile = file("token", SECRET);
    const options = server.options({ credentials: { tokenFile } });
    expect(await doesJob(options)).not.toContain(SECRET);
    const { log, lines } = keptLog();
    const link = await openLink(options, log);
    file("token", WRONG);
    await server.stop();
    await until("it is away", () => !link.isUp());
    await server.start();
    file("token", SECRET);
    await until("it is back", () => link.isUp(), 30_000);
    await link.close();
    expect(JSON.stringify(lines)).not.toMatch(new RegExp(`${SECRET}|${WRONG}`));
    file("token", WRONG);
    expect(await refusal(options)).not.toContain(WRONG);
  });

  test("with a file of credentials, of a user whose account has JetStream", async () => {
    const ours = makeUserCredentials();
    await using server = await startNatsServer(ours.config);
    const options = (creds: string) => server.options({ credentials: { credsFile: file("user.creds", creds) } });
    expect(await doesJob(options(ours.creds))).not.toContain(ours.seed);
    const other = makeUserCredentials();
    expect(await refusal(options(other.creds))).not.toContain(other.seed);
  });

  test("by no wrong file of credentials", async () => {
    await using server = await startNatsServer(makeUserCredentials().config);
    const { seed } = makeUserCredentials();
    expect(await refusal(server.options({ credentials: { credsFile: file("user.creds", seed) } }))).not.toContain(seed);
  });
});

describe("over TLS", () => {
  beforeEach(({ skip }) => skip(!hasOpenssl, "openssl is not installed"));

  async function startTlsServer(more = "") {
    const { ca, cert, key } = await makeAuthority("IP:127.0.0.1");
    const tls = `tls { cert_file: "${file("cert.pem", cert)}", key_file: "${file("key.pem", key)}" }`;
    return { server: await startNatsServer(`${tls}\n${more}`), ca: ca.toString() };
  }

  test("a gateway does its jobs, with a password on top", async () => {
    const { server, ca } = await startTlsServer(`authorization { user: muster, password: "${SECRET}" }`);
    await using _ = server;
    const credentials = { user: "muster", passwordFile: file("password", SECRET) };
    expect(await doesJob(server.options({ ca, credentials }))).not.toContain(SECRET);
    const tlsOnly = server.options({ servers: [server.url.replace("nats:", "tls:")], ca, credentials });
    const link = await openLink(tlsOnly, quietLog);
    expect(link.isUp()).toBe(true);
    await link.close();
  });

  test("a server of another authority is not trusted", async () => {
    const { server } = await startTlsServer();
    await using _ = server;
    const other = await makeAuthority("IP:127.0.0.1");
    const link = openLink(server.options({ ca: other.ca.toString() }), quietLog);
    await expect(link).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", message: expect.stringMatching(/certif/i) });
  });

  test("a server without it is refused where it is asked for", async () => {
    await using server = await startNatsServer();
    const { ca } = await makeAuthority();
    const link = openLink(server.options({ ca: ca.toString() }), quietLog);
    await expect(link).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", message: expect.stringMatching(/TLS/i) });
  });

  test("`muster coordinator` takes all of it from its settings, and shows no secret", async () => {
    const { server, ca } = await startTlsServer(`authorization { user: muster, password: "${SECRET}" }`);
    await using _ = server;
    using here = place();
    const env = {
      ...{ ...here.env, LOG_LEVEL: "debug", NATS_USER: "muster", NATS_CA_FILE: file("ca.pem", ca) },
      ...{ NATS_URL: server.url.replace("nats:", "tls:"), NATS_PASSWORD_FILE: file("password", SECRET) },
    };
    await using coordinator = startMuster(["coordinator", "--listen", "127.0.0.1:0"], env);
    const line = await coordinator.line(/listens on/);
    const [url] = /http:\/\/[\d.:]+/.exec(line) ?? [];
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    coordinator.kill("SIGTERM");
    const { code, stdout, stderr } = await coordinator.exited;
    expect(code).toBe(0);
    expect(stdout + stderr).not.toContain(SECRET);
    file("password", WRONG);
    const refused = await runMuster(["coordinator", "--listen", "127.0.0.1:0"], env);
    expect(refused.code).toBe(78);
    expect(refused.stdout + refused.stderr).toContain("refuses this gateway");
    expect(refused.stdout + refused.stderr).not.toContain(WRONG);
  });
});
