import { MusterError } from "../../errors.ts";
import { jobError } from "../../job.ts";
import type { Engine as EngineKind } from "../../model.ts";

/** What engines say when something fails, as errors of jobs. */

export interface EngineIdentity {
  kind: EngineKind;
  /** Without credentials. */
  url: string;
}

const NAMES: Record<EngineKind, string> = { ollama: "Ollama", vllm: "vLLM", openai: "OpenAI-compatible engine" };

export function engineName({ kind, url }: EngineIdentity): string {
  return `${NAMES[kind]} at ${url}`;
}

function variable(kind: EngineKind, what: "URL" | "API_KEY"): string {
  return `${kind.toUpperCase()}_${what}`;
}

/** `why` goes on the sentence that it is not there. */
export function engineDown(engine: EngineIdentity, why: string, cause?: unknown): MusterError {
  return jobError(
    "ENGINE_DOWN",
    `${engineName(engine)} is not there: ${why}.`,
    `Start it, or check ${variable(engine.kind, "URL")}; \`muster doctor\` tries it.`,
    cause,
  );
}

export function brokenOff(engine: EngineIdentity, cause?: unknown): MusterError {
  return engineDown(engine, "it ended its answer in the middle", cause);
}

/** The connection could not be made, or ended before its time. */
export function connectionError(engine: EngineIdentity, cause: unknown): MusterError {
  const code = systemCode(cause);
  if (code === "ECONNREFUSED") return engineDown(engine, "nothing listens there", cause);
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") return engineDown(engine, "its name is not known", cause);
  return engineDown(engine, `the connection broke${code ? ` (${code})` : ""}`, cause);
}

/** An answer of another form than the API's. Without a cause: a parser's words quote what it read. */
export function notTheApi(engine: EngineIdentity): MusterError {
  return jobError(
    "INTERNAL",
    `${engineName(engine)} answers, but not as its API has it.`,
    `Check that ${variable(engine.kind, "URL")} names such an engine; \`muster doctor\` tries it.`,
  );
}

/** The JSON of an answer. */
export function parseAnswer(text: string, engine: EngineIdentity): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw notTheApi(engine);
  }
}

/**
 * An error that the engine sent: with a status, or in the middle of a stream (then 500, if it names none), which stands in
 * `details.status`.
 */
export function engineRefusal(engine: EngineIdentity, status: number, body: string): MusterError {
  const said = errorText(body);
  const { code, what, hint } = judge(engine, status, said);
  const words = quotable(said);
  const message = `${engineName(engine)} ${what}${words ? `: ${words}` : ` (status ${status}).`}`;
  return new MusterError(code, message, { hint, details: { status } });
}

function judge({ kind }: EngineIdentity, status: number, said: string) {
  if (status >= 500 && OUT_OF_MEMORY.test(said)) {
    return {
      code: "OUT_OF_MEMORY",
      what: "has not enough memory",
      hint: "`muster plan` shows what the model needs, `nvidia-smi` who else is on the card.",
    } as const;
  }
  if (status === 401 || status === 403) {
    return {
      code: "ENGINE_DOWN",
      what: "does not let this worker in",
      hint:
        kind === "ollama"
          ? "Check the credentials in OLLAMA_URL, and OLLAMA_HOST and OLLAMA_ORIGINS of the server."
          : `Set ${variable(kind, "API_KEY")} (or ${variable(kind, "API_KEY")}_FILE) to the key that it was started with.`,
    } as const;
  }
  if (status === 404 && /model/i.test(said)) {
    return {
      code: "MODEL_NOT_READY",
      what: "does not have the model",
      hint:
        kind === "ollama"
          ? "Start it with OLLAMA_MODELS as `muster list` shows it, or run `ollama pull` there."
          : "Start it with this model, or with --served-model-name and the model's id; `muster plan` shows both.",
    } as const;
  }
  if (status === 404 || status === 405 || status === 501 || (status === 400 && /\bnot support/i.test(said))) {
    return {
      code: "UNSUPPORTED",
      what: "cannot do this with the model",
      hint: "Send this kind of job to another model; `muster plan` shows the tasks of each.",
    } as const;
  }
  if (status === 413) {
    return {
      code: "PAYLOAD_TOO_LARGE",
      what: "finds the request too large",
      hint: "Send less at once: fewer or shorter texts.",
    } as const;
  }
  if (status === 400 || status === 422) {
    return {
      code: "INVALID_INPUT",
      what: "does not take the request",
      hint: "Correct the request; the engine's own log tells more.",
    } as const;
  }
  if (status === 429 || status === 503) {
    return {
      code: "BUSY",
      what: "takes no more now",
      hint: "It is tried again; `muster status` shows whether the engine is still loading.",
    } as const;
  }
  if (status === 502 || status === 504 || ENGINE_DEAD.test(said)) {
    return {
      code: "ENGINE_DOWN",
      what: "has lost what runs its models",
      hint: "Look at the engine's own log, and restart it if it does not come back.",
    } as const;
  }
  return {
    code: "INTERNAL",
    what: "failed",
    hint: "Look at the engine's own log: its lines are tagged [engine] where muster started it.",
  } as const;
}

const OUT_OF_MEMORY =
  /out of memory|outofmemory|\boom\b|cudamalloc failed|requires more (?:system )?memory|(?:not enough|insufficient|no available) (?:\w+ )?memory|(?:failed|unable) to allocate/i;
const ENGINE_DEAD =
  /engine ?(?:core|loop)? ?(?:is )?dead|enginedeaderror|runner process has terminated|runner .*no longer running/i;

/** The message in an error's body, in any of the forms that engines have for it. */
function errorText(body: string): string {
  try {
    const parsed = JSON.parse(body) as Record<string, unknown>;
    const inner = (parsed.error ?? parsed) as Record<string, unknown> | string;
    const text = typeof inner === "string" ? inner : (inner.message ?? inner.detail ?? inner.error);
    return typeof text === "string" ? text : "";
  } catch {
    return body.trimStart().startsWith("<") ? "" : body;
  }
}

/**
 * What may be passed on of an engine's words. Some quote the prompt or the answer, with marks or without; what stands
 * before the first colon, quotation or bracketed dump is their own.
 */
function quotable(said: string): string {
  const [own = ""] = said.split(/[\r\n]|:(?:\s|$)|(?:^|[\s=(:,])[[{<'"`‘“]/, 1);
  return own.trim().slice(0, 200);
}

function systemCode(error: unknown): string | null {
  for (let each = error; each instanceof Error; each = each.cause) {
    if ("code" in each && typeof each.code === "string") return each.code;
  }
  return null;
}
