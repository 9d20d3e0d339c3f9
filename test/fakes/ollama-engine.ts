import { createHash } from "node:crypto";
import {
  type Asked,
  type EngineServer,
  logprobsOf,
  type Piece,
  type Reply,
  type Script,
  say,
  startEngineServer,
  vectorOf,
} from "./engine-server.ts";

/** An Ollama server as far as jobs need it: chat, generate, embed, create. Fetching has its own (ollama-api.ts). */
export interface OllamaEngine extends EngineServer {
  version: string;
  /** Of its models; null for a server that does not tell. */
  capabilities: string[] | null;
  /** What it was uploaded, by digest. */
  blobs: Set<string>;
  /** Models that were made there, by name; all others it simply has. */
  created: Map<string, { from: string; adapters: Record<string, string> }>;
}

export async function startOllamaEngine(port?: number): Promise<OllamaEngine> {
  const server = await startEngineServer(answer, port);
  const engine: OllamaEngine = Object.assign(server, {
    version: "0.33.0",
    capabilities: ["completion", "vision"] as string[] | null,
    blobs: new Set<string>(),
    created: new Map<string, { from: string; adapters: Record<string, string> }>(),
  });

  async function answer({ method, path, body }: Asked, reply: Reply, script: Script): Promise<void> {
    if (path === "/api/version") return reply.json(200, { version: engine.version });
    const [, blob] = /^\/api\/blobs\/(sha256:[0-9a-f]{64})$/.exec(path) ?? [];
    if (blob !== undefined) {
      if (method === "HEAD") return reply.json(engine.blobs.has(blob) ? 200 : 404, "");
      const digest = `sha256:${createHash("sha256").update(body).digest("hex")}`;
      if (digest !== blob) return reply.json(400, { error: `digest mismatch, expected "${blob}", got "${digest}"` });
      engine.blobs.add(blob);
      return reply.json(201, {});
    }
    if (path === "/api/create") {
      const missing = Object.values<string>(body.adapters).filter((digest) => !engine.blobs.has(digest));
      if (missing.length > 0) return reply.json(400, { error: `invalid digest, ${missing}` });
      engine.created.set(body.model, { from: body.from, adapters: body.adapters });
      return reply.json(200, { status: "success" });
    }
    // What nobody made there is not there: only models of the namespace that this project uses are made.
    if (body?.model?.startsWith("muster/") && !engine.created.has(body.model)) {
      return reply.json(404, { error: `model '${body.model}' not found` });
    }
    if (path === "/api/show") {
      return reply.json(200, { license: "x", ...(engine.capabilities ? { capabilities: engine.capabilities } : {}) });
    }
    if (!["/api/chat", "/api/generate", "/api/embed"].includes(path)) return reply.json(404, { error: "not found" });
    await script.headers;
    const { refuse, usage } = script;
    if (refuse) return reply.json(refuse.status, { error: refuse.message });
    const head = { model: body.model, created_at: "2026-01-02T03:04:05.678Z" };
    const counts = { prompt_eval_count: usage.prompt, eval_count: usage.completion };
    if (path === "/api/embed") {
      const embeddings = [body.input].flat().map(vectorOf);
      return reply.json(200, { model: body.model, embeddings, prompt_eval_count: usage.prompt });
    }
    const isChat = path === "/api/chat";
    if (isChat ? body.messages.length === 0 : body.prompt === "") {
      return reply.json(200, { ...head, done: true, done_reason: "load" });
    }
    const line = (value: object) => `${JSON.stringify({ ...head, ...value })}\n`;
    const empty = isChat ? { message: { role: "assistant", content: "" } } : { response: "" };
    await say(
      script,
      {
        contentType: "application/x-ndjson",
        head: "",
        piece: (piece, number) =>
          line({
            ...(isChat ? message(piece, number) : text(piece)),
            ...(body.logprobs ? { logprobs: logprobsOf(piece) } : {}),
            done: false,
          }),
        tail: line({ ...empty, done: true, done_reason: script.finish, ...counts }),
        error: (error) => `${JSON.stringify({ error })}\n`,
      },
      reply,
    );
  }
  return engine;
}

function text(piece: Piece): object {
  return { response: "text" in piece ? piece.text : "" };
}

function message(piece: Piece, number: number): object {
  const role = "assistant";
  if ("text" in piece) return { message: { role, content: piece.text } };
  if ("thinking" in piece) return { message: { role, content: "", thinking: piece.thinking } };
  const called = { id: `call_${number}`, function: { index: number, ...piece.call } };
  return { message: { role, content: "", tool_calls: [called] } };
}
