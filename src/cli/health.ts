import { EXIT } from "../errors.ts";
import { askAgent } from "./agent-http.ts";
import { print } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";

/** `muster health`: exit 0 while the agent's main loop turns (a long download is healthy); with --ready, while work may be sent. */
export async function health(options: GlobalOptions & { ready?: boolean }): Promise<number> {
  const { config } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const { status, body } = await askAgent(config, options.ready ? "/readyz" : "/livez");
  const { reasons } = body as { reasons?: string[] };
  print(body, options, () => (status === 200 ? "ok" : `not ready: ${(reasons ?? []).join("; ")}`));
  return status === 200 ? EXIT.ok : EXIT.failed;
}
