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
    const age = coordinator.lastAckAt === null ? Number.POSITIVE_INFINITY : now - coordinator.lastAckAt;
    if (!coordinator.connected)
      reasons.push(`not registered with ${coordinator.url}${coordinator.error ? `: ${coordinator.error}` : ""}`);
    else if (coordinator.beatMs !== null && age > 2 * coordinator.beatMs)
      reasons.push(`no beat was acknowledged for ${Math.round(age / 1000)} s`);
  }
  return { ready: reasons.length === 0, reasons };
}
