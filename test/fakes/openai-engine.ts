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

/** An engine that speaks OpenAI's API, as vLLM does: lists its models, chats, completes, embeds. */
export interface OpenAiEngine extends EngineServer {
  /** What /v1/models lists; null for an engine that has no such list. */
  models: string[] | null;
  version: string;
  /** Asked for in the Authorization header. */
  apiKey: string | null;
  /** It answers with no more vectors, whatever it was asked for. */
  mostVectors: number;
  /** Texts that it embeds at once. */
  maxBatch: number;
  /** Of a list whose engine ignores `encoding_format`. */
  base64: boolean;
  /** Between the lines of a stream. */
  newline: string;
  /** What it calls what the model thinks. */
  reasoning: string;
  /** Without the closing [DONE]. */
  noDone: boolean;
}

export async function startOpenAiEngine(port?: number): Promise<OpenAiEngine> {
  const server = await startEngineServer(answer, port);
  const engine: OpenAiEngine = Object.assign(server, {
    models: ["org/model"] as string[] | null,
    version: "0.11.0",
    apiKey: null,
    maxBatch: Number.POSITIVE_INFINITY,
    mostVectors: Number.POSITIVE_INFINITY,
    base64: true,
    newline: "\n",
    reasoning: "reasoning_content",
    noDone: false,
  });

  async function answer({ path, headers, body }: Asked, reply: Reply, script: Script): Promise<void> {
    if (path === "/version") return reply.json(200, { version: engine.version });
    if (path === "/info" && !engine.models) return reply.json(200, { model_id: "org/model", version: "1.8.0" });
    if (engine.apiKey && headers.authorization !== `Bearer ${engine.apiKey}`) {
      return reply.json(401, { error: "Unauthorized" });
    }
    if (path === "/v1/models" && engine.models) {
      return reply.json(200, { object: "list", data: engine.models.map((id) => ({ id, object: "model" })) });
    }
    if (!["/v1/chat/completions", "/v1/completions", "/v1/embeddings"].includes(path)) {
      return reply.json(404, { detail: "Not Found" });
    }
    await script.headers;
    const { refuse } = script;
    if (refuse) {
      const error = { message: refuse.message, type: "Error", code: refuse.status };
      return reply.json(refuse.status, { error });
    }
    if (path === "/v1/embeddings") return embed(body, reply, script);
    if (!body.stream) return reply.json(200, { choices: [] });
    const isChat = path === "/v1/chat/completions";
    await say(script, dialect(isChat, script, body), reply);
  }

  // biome-ignore lint/suspicious/noExplicitAny: the body as it came
  function embed(body: any, reply: Reply, { usage }: Script): void {
    const texts: string[] = [body.input].flat();
    if (texts.length > engine.maxBatch) {
      const error = `batch size ${texts.length} > maximum allowed batch size ${engine.maxBatch}`;
      reply.json(413, { error, error_type: "Validation" });
      return;
    }
    const encode = (vector: number[]) =>
      body.encoding_format === "base64" && engine.base64
        ? Buffer.from(Float32Array.from(vector).buffer).toString("base64")
        : vector;
    reply.json(200, {
      object: "list",
      data: texts
        .slice(0, engine.mostVectors)
        .map((text, index) => ({ object: "embedding", index, embedding: encode(vectorOf(text)) }))
        .reverse(),
      model: body.model,
      usage: { prompt_tokens: usage.prompt, total_tokens: usage.prompt },
    });
  }

  // biome-ignore lint/suspicious/noExplicitAny: the body as it came
  function dialect(isChat: boolean, { finish, pieces, usage }: Script, body: any) {
    const { newline } = engine;
    const data = (value: unknown) =>
      `data: ${typeof value === "string" ? value : JSON.stringify(value)}${newline}${newline}`;
    const head = {
      id: isChat ? "chatcmpl-1" : "cmpl-1",
      object: isChat ? "chat.completion.chunk" : "text_completion",
      created: 1_700_000_000,
      model: body.model,
    };
    // The choices take turns, as they do where several are made at once.
    const chunk = (choice: object) =>
      Array.from({ length: body.n ?? 1 }, (_, index) =>
        data({ ...head, choices: [{ index, finish_reason: null, logprobs: null, ...choice }] }),
      ).join("");
    const logprobs = (piece: Piece) => (body.logprobs ? { logprobs: { content: logprobsOf(piece) } } : {});
    const calls = pieces.some((piece) => "call" in piece);
    const last = isChat ? { delta: {} } : { text: "" };
    const counted = {
      prompt_tokens: usage.prompt,
      completion_tokens: usage.completion,
      total_tokens: usage.prompt + usage.completion,
    };
    return {
      contentType: "text/event-stream; charset=utf-8",
      head: `: keep-alive${newline}${newline}${isChat ? chunk({ delta: { role: "assistant", content: "" } }) : ""}`,
      piece: (piece: Piece, number: number) =>
        isChat
          ? deltas(piece, number, engine.reasoning)
              .map((delta) => chunk({ delta, ...logprobs(piece) }))
              .join("")
          : chunk({ text: "text" in piece ? piece.text : "" }),
      tail:
        chunk({ ...last, finish_reason: calls ? "tool_calls" : finish }) +
        (body.stream_options?.include_usage ? data({ ...head, choices: [], usage: counted }) : "") +
        (engine.noDone ? "" : data("[DONE]")),
      error: (message: string) => data({ error: { message, type: "InternalServerError", code: 500 } }) + data("[DONE]"),
    };
  }
  return engine;
}

/** Arguments of a tool call come in two pieces. */
function deltas(piece: Piece, number: number, reasoning: string): object[] {
  if ("text" in piece) return [{ content: piece.text }];
  if ("thinking" in piece) return [{ [reasoning]: piece.thinking }];
  const { name, arguments: given } = piece.call;
  const text = JSON.stringify(given);
  const [first, second] = [text.slice(0, 5), text.slice(5)];
  return [
    { tool_calls: [{ index: number, id: `call_${number}`, type: "function", function: { name, arguments: first } }] },
    { tool_calls: [{ index: number, function: { arguments: second } }] },
  ];
}
