import { setTimeout as sleep } from "node:timers/promises";
import { request } from "undici";
import { z } from "zod";
import type { Engine } from "../../model.ts";
import type { EngineStatus, StatusBoard } from "../../status.ts";

const TRY_MS = 2_000;
/** Between two looks while an engine is not there: it may be loading, and work waits for it. */
const SOON_MS = 2_000;

export interface ProbeOptions {
  urls: Partial<Record<Engine, string | null>>;
  board: StatusBoard;
  signal: AbortSignal;
  everyMs?: number;
}

/**
 * Asks the configured engines again and again whether they are there. A stored model whose engine answers is ready; one
 * whose engine went is stored again. Short tries: an engine that loads accepts connections and answers none.
 */
export async function probeEngines({ urls, board, signal, everyMs = 10_000 }: ProbeOptions): Promise<void> {
  const configured = Object.entries(urls).flatMap(([kind, url]) => (url ? [{ kind: kind as Engine, url }] : []));
  while (configured.length > 0 && !signal.aborted) {
    const engines = await Promise.all(configured.map(({ kind, url }) => probe(kind, url, signal)));
    if (signal.aborted) break;
    if (JSON.stringify(engines) !== JSON.stringify(board.current.engines)) board.update({ engines });
    for (const { id, state, engine } of board.current.models) {
      const reachable = engines.some(({ kind, reachable }) => kind === engine && reachable);
      if (state === "stored" && reachable) board.setModel(id, { state: "ready" });
      if (state === "ready" && !reachable) board.setModel(id, { state: "stored" });
    }
    const pause = engines.every(({ reachable }) => reachable) ? everyMs : Math.min(everyMs, SOON_MS);
    await sleep(pause, undefined, { signal }).catch(() => undefined);
  }
}

const version = z.object({ version: z.string() });

/** Whether the engine answers, and which version it says it is. Never throws. */
export async function probe(kind: Engine, url: string, signal: AbortSignal): Promise<EngineStatus> {
  const base = url.replace(/\/+$/, "").replace(/\/v1$/, "");
  const path = kind === "ollama" ? "/api/version" : "/v1/models";
  try {
    const answer = await request(`${base}${path}`, {
      headersTimeout: TRY_MS,
      bodyTimeout: TRY_MS,
      signal: AbortSignal.any([signal, AbortSignal.timeout(TRY_MS)]),
    });
    const body: unknown = await answer.body.json().catch(() => null);
    return { kind, url, reachable: answer.statusCode === 200, version: version.safeParse(body).data?.version ?? null };
  } catch {
    return { kind, url, reachable: false, version: null };
  }
}
