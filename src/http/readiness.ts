import type { AgentStatus } from "../status.ts";

/** Whether work may be sent here: required models stored, and an acknowledged beat within two intervals. `now` as Date.now. */
export function readiness(status: AgentStatus, now: number): { ready: boolean; reasons: string[] } {
  const reasons: string[] = [];
  if (status.state !== "ready") reasons.push(`the agent is ${status.state}`);
  if (status.lostGpus.length > 0) reasons.push(`GPU ${status.lostGpus.join(", ")} is gone`);
  for (const { id, required, state, error } of status.models) {
    if (required && !["stored", "loading", "ready"].includes(state))
      reasons.push(`model ${id} is ${state}${error ? `: ${error.message}` : ""}`);
  }
  const { coordinator } = status;
  if (coordinator) {
    if (!coordinator.connected)
      reasons.push(`not registered with ${coordinator.url}${coordinator.error ? `: ${coordinator.error}` : ""}`);
    else if (coordinator.lastAckAt === null) reasons.push("no beat was acknowledged yet");
    else if (coordinator.beatMs !== null && now - coordinator.lastAckAt > 2 * coordinator.beatMs)
      reasons.push(`no beat was acknowledged for ${Math.round((now - coordinator.lastAckAt) / 1000)} s`);
  }
  return { ready: reasons.length === 0, reasons };
}
