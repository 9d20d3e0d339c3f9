import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { type Coordinator, startCoordinator } from "../../src/coordinator/coordinator.ts";
import { until } from "../until.ts";
import { quietLog, startWorker } from "./worker.ts";

const run = promisify(execFile);
const hasOpenssl = await run("openssl", ["version"]).then(
  () => true,
  () => false,
);

interface Authority {
  ca: Buffer;
  cert: Buffer;
  key: Buffer;
}

/** An authority of its own, and a certificate for 127.0.0.1 that it signed. */
async function authority(days = "2"): Promise<Authority> {
  const folder = await mkdtemp(join(tmpdir(), "muster-tls-"));
  const openssl = (...args: string[]) => run("openssl", args, { cwd: folder });
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  try {
    await openssl(
      "req",
      "-x509",
      ...newKey,
      "-keyout",
      "ca.key",
      "-out",
      "ca.pem",
      "-days",
      "2",
      "-subj",
      "/CN=Test CA",
    );
    await openssl("req", ...newKey, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=coordinator");
    await writeFile(join(folder, "san"), "subjectAltName=IP:127.0.0.1\n");
    const signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "san", "-days", days];
    await openssl("x509", "-req", "-in", "server.csr", ...signed, "-out", "server.pem");
    const [ca, cert, key] = await Promise.all(
      ["ca.pem", "server.pem", "server.key"].map((name) => readFile(join(folder, name))),
    );
    return { ca: ca!, cert: cert!, key: key! };
  } finally {
    await rm(folder, { recursive: true });
  }
}

function coordinator(tls?: Authority): Promise<Coordinator> {
  return startCoordinator({
    ...{ host: "127.0.0.1", port: 0, workerToken: "worker-token", clientToken: null, beatMs: 50, log: quietLog, tls },
  });
}

if (!hasOpenssl) {
  test.skip("TLS: openssl is not on this machine, so there is no certificate to test with", () => undefined);
} else {
  test("a certificate of a private authority is taken with COORDINATOR_CA_FILE, and only then", async () => {
    const tls = await authority();
    await using peer = await coordinator(tls);
    expect(peer.wsUrl).toMatch(/^wss:/);
    await using without = startWorker(peer.wsUrl, { workerId: "without", token: async () => "worker-token" });
    const error = await until("it was refused", () => without.board.current.coordinator?.error);
    expect(error).toContain("COORDINATOR_CA_FILE");
    expect(without.lines.find((line) => line.code)).toMatchObject({ level: 40, code: "COORDINATOR_UNREACHABLE" });

    await using other = startWorker(peer.wsUrl, { workerId: "other", ca: (await authority()).ca });
    expect(await until("it was refused", () => other.board.current.coordinator?.error)).toContain(
      "COORDINATOR_CA_FILE",
    );

    await using _worker = startWorker(peer.wsUrl, { ca: tls.ca, token: async () => "worker-token" });
    await until("it is registered", () => peer.workers()[0]?.beats);
    expect(peer.workers().map(({ id }) => id)).toEqual(["worker-1"]);
  });

  test("a name that the certificate does not carry is told apart, and so is a CA file without a certificate", async () => {
    const tls = await authority();
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
}
