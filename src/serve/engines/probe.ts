import { setTimeout as sleep } from "node:timers/promises";
import { request } from "undici";
import { z } from "zod";
import type { Engine } from "../../model.ts";
import type { EngineStatus, StatusBoard } from "../../status.ts";

const EVERY_MS = 10_000;
const TRY_MS = 2_000;

/**
 * Asks the configured engines again and again whether they are there. A stored model whose engine answers is ready; one
 * whose engine went is stored again. Short tries: an engine that loads accepts connections and answers none.
 */
export async function probeEngines(
  urls: Partial<Record<Engine, string | null>>,
  board: StatusBoard,
  signal: AbortSignal,
): Promise<void> {
  const configured = Object.entries(urls).flatMap(([kind, url]) => (url ? [{ kind: kind as Engine, url }] : []));
  while (configured.length > 0 && !signal.aborted) {
    const engines = await Promise.all(configured.map(({ kind, url }) => probe(kind, url)));
    if (JSON.stringify(engines) !== JSON.stringify(board.current.engines)) board.update({ engines });
    for (const { id, state, engine } of board.current.models) {
      const reachable = engines.some(({ kind, reachable }) => kind === engine && reachable);
      if (state === "stored" && reachable) board.setModel(id, { state: "ready" });
      if (state === "ready" && !reachable) board.setModel(id, { state: "stored" });
    }
    await sleep(EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

const version = z.object({ version: z.string() });

/** Whether the engine answers, and which version it says it is. Never throws. */
export async function probe(kind: Engine, url: string): Promise<EngineStatus> {
  const base = url.replace(/\/+$/, "").replace(/\/v1$/, "");
  const path = kind === "ollama" ? "/api/version" : "/v1/models";
  try {
    const answer = await request(`${base}${path}`, {
      headersTimeout: TRY_MS,
      bodyTimeout: TRY_MS,
      signal: AbortSignal.timeout(TRY_MS),
    });
    const body: unknown = await answer.body.json().catch(() => null);
    return { kind, url, reachable: answer.statusCode === 200, version: version.safeParse(body).data?.version ?? null };
  } catch {
    return { kind, url, reachable: false, version: null };
  }
}
