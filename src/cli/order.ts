import { askSocket } from "./agent-socket.ts";
import { print } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";

/** `muster pause`, `resume` and `drain`: as if the coordinator had said it. */
export async function order(command: "pause" | "resume" | "drain", options: GlobalOptions): Promise<number> {
  const { config } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const answer = await askSocket<{ state: string }>(config, "POST", `/${command}`);
  print(answer, options, () => `The agent is ${answer.state}`);
  return 0;
}
