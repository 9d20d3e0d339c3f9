import { expect, test } from "vitest";
import { type Coordinator, startCoordinator } from "../../src/coordinator/coordinator.ts";
import { type Authority, hasOpenssl, makeAuthority } from "../authority.ts";
import { until } from "../until.ts";
import { quietLog, startWorker } from "./worker.ts";

function coordinator(tls?: Authority): Promise<Coordinator> {
  return startCoordinator({
    ...{ host: "127.0.0.1", port: 0, workerToken: "worker-token", clientToken: null, beatMs: 50, log: quietLog, tls },
  });
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
}
