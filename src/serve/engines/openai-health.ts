import * as z from "zod";
import type { EngineHealth } from "./engine.ts";
import type { EngineHttp } from "./engine-http.ts";

const modelList = z.object({ data: z.array(z.object({ id: z.string() })) });
const versioned = z.object({ version: z.string() });
/** What TEI, which lists no models, says of itself. */
const teiInfo = z.object({ model_id: z.string(), version: z.string().optional() });
const AWAY: EngineHealth = { reachable: false, version: null, models: null };

/** Whether such an engine is there, and what it says it serves. */
export async function openAiHealth(http: EngineHttp, signal: AbortSignal): Promise<EngineHealth> {
  const [listed, version] = await Promise.all([
    http.ask("/v1/models", signal),
    http.kind === "vllm" ? http.ask("/version", signal) : null,
  ]);
  if (listed?.status === 404 || listed?.status === 405) {
    const info = await http.ask("/info", signal);
    if (info?.status !== 200) return AWAY;
    const { data } = teiInfo.safeParse(info.json);
    return { reachable: true, version: data?.version ?? null, models: data ? [data.model_id] : null };
  }
  // Who is not let in has an engine there, and is told about the key when the model is loaded.
  const reachable = listed?.status === 200 || listed?.status === 401 || listed?.status === 403;
  if (!reachable) return AWAY;
  const models = modelList.safeParse(listed.json).data?.data.map(({ id }) => id);
  return {
    reachable: true,
    version: versioned.safeParse(version?.json).data?.version ?? null,
    models: models && models.length > 0 ? models : null,
  };
}
