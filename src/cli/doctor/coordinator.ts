import { type ClientCertificate, readClientCertificate } from "../../client-certificate.ts";
import { type Config, currentCoordinatorToken } from "../../config.ts";
import { type MusterError, toMusterError } from "../../errors.ts";
import { startHandshake } from "../../register/handshake.ts";
import type { Check } from "./check.ts";
import { answering, direct, knock, TRY_MS } from "./knock.ts";

const name = "coordinator";

/** Whether it answers, and takes this worker's token and certificate; nothing registers. */
export async function checkCoordinator(config: Config): Promise<Check> {
  const { coordinatorUrl: url, coordinatorCertificate: files, coordinatorCa } = config;
  if (!url) {
    const hint = "Set it to the coordinator's ws:// or wss:// URL; without one the worker stands alone.";
    return { name, result: "warn", found: "COORDINATOR_URL is not set", hint };
  }
  let own: ClientCertificate | null;
  try {
    own = files && (await readClientCertificate(files));
  } catch (error) {
    return failed(toMusterError(error));
  }
  const ca = coordinatorCa ?? undefined;
  const answer = await knock(url.replace(/^ws/, "http"), { dispatcher: direct({ ca, ...own }) });
  if ("error" in answer) {
    const hint = "Check COORDINATOR_URL, COORDINATOR_CA_FILE, COORDINATOR_CERT_FILE, and that the coordinator runs.";
    return { name, result: "fail", found: answer.error.message, hint };
  }
  const { latencyMs, clockAheadMs } = answer;
  const refused = await tryToken(config, url);
  return refused ? { ...failed(refused), latencyMs, clockAheadMs } : answering(name, url, answer);
}

/** As a worker connects, and leaves before it has said who it is. Null where it was let in. */
async function tryToken(config: Config, url: string): Promise<MusterError | null> {
  const { coordinatorCa, coordinatorCertificate: files } = config;
  try {
    const { socket, opened } = await startHandshake({
      url,
      token: async () => currentCoordinatorToken(config),
      ca: coordinatorCa ?? undefined,
      certificate: async () => files && readClientCertificate(files),
      handshakeTimeoutMs: TRY_MS,
      signal: AbortSignal.timeout(TRY_MS),
    });
    socket.on("error", () => undefined);
    try {
      await opened();
    } finally {
      socket.terminate();
    }
    return null;
  } catch (error) {
    return toMusterError(error);
  }
}

function failed({ message, hint }: MusterError): Check {
  return { name, result: "fail", found: message, hint };
}
