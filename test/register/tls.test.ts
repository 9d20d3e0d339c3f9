import { once } from "node:events";
import { chmodSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect } from "node:net";
import { join } from "node:path";
import { createServer } from "node:tls";
import { expect, test } from "vitest";
import { readClientCertificate } from "../../src/client-certificate.ts";
import { type Coordinator, startCoordinator } from "../../src/coordinator/coordinator.ts";
import { type Authority, hasOpenssl, makeAuthority } from "../authority.ts";
import { temporaryFolder } from "../store/temporary-folder.ts";
import { until } from "../until.ts";
import { quietLog, startWorker } from "./worker.ts";

function coordinator(tls?: Authority): Promise<Coordinator> {
  return startCoordinator({
    ...{ host: "127.0.0.1", port: 0, workerToken: "worker-token", clientToken: null, beatMs: 50, log: quietLog, tls },
  });
}

/** TLS before a coordinator, for whoever shows a certificate of the authority; tells whose it was. */
async function certificateGate({ ca, cert, key }: Authority, { port }: Coordinator) {
  const shown: string[] = [];
  const options = { ca, cert, key, requestCert: true, rejectUnauthorized: true };
  const server = createServer(options, (socket) => {
    shown.push(String(socket.getPeerCertificate().subject.CN));
    const inner = connect(port, "127.0.0.1");
    socket.pipe(inner).pipe(socket);
    socket.on("error", () => inner.destroy());
    inner.on("error", () => socket.destroy());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `wss://127.0.0.1:${(server.address() as AddressInfo).port}`,
    shown,
    [Symbol.asyncDispose]: async () => void server.close(),
  };
}

/** The files of a certificate, as settings name them. */
function filesOf({ cert, key }: { cert: Buffer | string; key: Buffer | string }) {
  const folder = temporaryFolder();
  const files = { cert: join(folder, "worker.pem"), key: join(folder, "worker.key") };
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
  return files;
}

if (!hasOpenssl) {
  test.skip("TLS: openssl is not on this machine, so there is no certificate to test with", () => undefined);
} else {
  test("a certificate of a private authority is taken with COORDINATOR_CA_FILE, and only then", async () => {
    const tls = await makeAuthority();
    await using peer = await coordinator(tls);
    expect(peer.wsUrl).toMatch(/^wss:/);
    await using without = startWorker(peer.wsUrl, { workerId: "without", token: async () => "worker-token" });
    const error = await until("it was refused", () => without.board.current.coordinator?.error);
    expect(error).toContain("COORDINATOR_CA_FILE");
    expect(without.lines.find((line) => line.code)).toMatchObject({ level: 40, code: "COORDINATOR_UNREACHABLE" });

    await using other = startWorker(peer.wsUrl, { workerId: "other", ca: (await makeAuthority()).ca });
    expect(await until("it was refused", () => other.board.current.coordinator?.error)).toContain(
      "COORDINATOR_CA_FILE",
    );

    await using _worker = startWorker(peer.wsUrl, { ca: tls.ca, token: async () => "worker-token" });
    await until("it is registered", () => peer.workers()[0]?.beats);
    expect(peer.workers().map(({ id }) => id)).toEqual(["worker-1"]);
  });

  test("a name that the certificate does not carry is told apart, and so is a CA file without a certificate", async () => {
    const tls = await makeAuthority();
    await using peer = await coordinator(tls);
    const url = peer.wsUrl.replace("127.0.0.1", "localhost");
    await using worker = startWorker(url, { ca: tls.ca });
    expect(await until("it was refused", () => worker.board.current.coordinator?.error)).toContain(
      "ERR_TLS_CERT_ALTNAME_INVALID",
    );
    await using broken = startWorker(peer.wsUrl, { ca: "no certificate at all" });
    expect(await until("it was refused", () => broken.board.current.coordinator?.error)).toContain(
      "COORDINATOR_CA_FILE",
    );
  });

  test("wss:// to a coordinator without a certificate says so", async () => {
    await using peer = await coordinator();
    await using worker = startWorker(peer.wsUrl.replace("ws:", "wss:"));
    expect(await until("it was refused", () => worker.board.current.coordinator?.error)).toContain("ws://");
  });

  test("a coordinator that asks for certificates takes the worker's own, and only then", async () => {
    const authority = await makeAuthority();
    await using peer = await coordinator();
    await using gate = await certificateGate(authority, peer);
    const token = async () => "worker-token";
    await using without = startWorker(gate.url, { workerId: "without", ca: authority.ca, token });
    expect(await until("it was refused", () => without.board.current.coordinator?.error)).toContain(
      "COORDINATOR_CERT_FILE",
    );
    // Signed by another.
    const { client } = await makeAuthority();
    const foreign = filesOf(client);
    await using other = startWorker(gate.url, {
      ...{ workerId: "other", ca: authority.ca, token },
      certificate: () => readClientCertificate(foreign),
    });
    expect(await until("it was refused", () => other.board.current.coordinator?.error)).toContain(
      "COORDINATOR_CERT_FILE",
    );
    expect(peer.workers()).toEqual([]);

    const files = filesOf(authority.client);
    await using _worker = startWorker(gate.url, {
      ...{ ca: authority.ca, token },
      certificate: () => readClientCertificate(files),
    });
    await until("it is registered", () => peer.workers()[0]?.beats);
    expect(gate.shown).toEqual(["worker"]);
  });

  test("a certificate that was renewed is shown at the next connection", async () => {
    const authority = await makeAuthority();
    await using peer = await coordinator();
    await using gate = await certificateGate(authority, peer);
    const files = filesOf({ cert: "half wr", key: authority.client.key });
    await using worker = startWorker(gate.url, {
      ...{ ca: authority.ca, token: async () => "worker-token" },
      certificate: () => readClientCertificate(files),
    });
    const error = await until("it is told", () => worker.board.current.coordinator?.error);
    expect(error).toContain(`COORDINATOR_CERT_FILE ${files.cert} is no PEM certificate. \`openssl x509 -in `);
    writeFileSync(files.cert, authority.client.cert);
    await until("it is registered", () => peer.workers()[0]?.beats);
  });

  test("what is wrong with a certificate is told with the command that shows it", async () => {
    const { client } = await makeAuthority();
    const { client: other } = await makeAuthority();
    const problem = (files: { cert: string; key: string }, now?: number) =>
      readClientCertificate(files, now).then(
        () => null,
        ({ code, message, hint }) => `${code}: ${message} ${hint}`,
      );
    expect(await problem(filesOf(client))).toBeNull();
    expect(await problem(filesOf({ cert: client.cert, key: other.key }))).toMatch(
      /^COORDINATOR_REFUSED: The key in COORDINATOR_KEY_FILE is not that of .+`openssl pkey -in \S+ -pubout`/,
    );
    const later = Date.now() + 3 * 86_400_000;
    expect(await problem(filesOf(client), later)).toMatch(
      /holds from 2\S+ to 2\S+, and not now\. .*openssl x509 .* -dates/,
    );
    expect(await problem(filesOf(client), Date.now() - 86_400_000)).toMatch(/and not now/);
    expect(await problem(filesOf({ cert: client.cert, key: "-----BEGIN PRIVATE KEY-----" }))).toMatch(
      /is no PEM key without a passphrase\. `openssl pkey/,
    );
    const { cert } = filesOf(client);
    expect(await problem({ cert, key: "/nowhere/worker.key" })).toContain(
      "/nowhere/worker.key cannot be read (ENOENT)",
    );
    const hidden = filesOf(client);
    chmodSync(hidden.key, 0o000);
    // Who is root reads it all the same.
    if (process.getuid?.() !== 0) expect(await problem(hidden)).toContain("cannot be read (EACCES)");
  });
}
