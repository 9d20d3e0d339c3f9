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

/** An Ollama server as far as jobs need it: chat, generate, embed. Fetching has its own (ollama-api.ts). */
export interface OllamaEngine extends EngineServer {
  version: string;
  /** Of its models; null for a server that does not tell. */
  capabilities: string[] | null;
}

export async function startOllamaEngine(port?: number): Promise<OllamaEngine> {
  const server = await startEngineServer(answer, port);
  const engine: OllamaEngine = Object.assign(server, {
    version: "0.33.0",
    capabilities: ["completion", "vision"] as string[] | null,
  });

  async function answer({ path, body }: Asked, reply: Reply, script: Script): Promise<void> {
    if (path === "/api/version") return reply.json(200, { version: engine.version });
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
