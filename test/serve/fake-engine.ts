import type {
  ChatBody,
  Engine,
  EngineAnswer,
  EngineBodies,
  EngineCall,
  EngineKindOfJob,
  EngineModel,
} from "../../src/serve/engines/engine.ts";

export interface Asked {
  kind: EngineKindOfJob;
  model: EngineModel;
  body: EngineBodies[EngineKindOfJob];
  call: EngineCall;
}

type Script = (asked: Asked) => EngineAnswer | Promise<EngineAnswer>;

/** An engine that does what its script says, and like a real one ends its work at an abort, with the signal's reason. */
export class FakeEngine implements Engine {
  readonly kind = "openai";
  readonly url = "http://fake";
  readonly asked: Asked[] = [];
  /** Calls under way. */
  working = 0;
  script: Script;

  constructor(script: Script = () => chatAnswer("Hello")) {
    this.script = script;
  }

  async run<K extends EngineKindOfJob>(kind: K, model: EngineModel, body: EngineBodies[K], call: EngineCall) {
    const asked = { kind, model, body, call };
    this.asked.push(asked);
    this.working += 1;
    const aborted = Promise.withResolvers<never>();
    const onAbort = () => aborted.reject(call.signal.reason);
    call.signal.addEventListener("abort", onAbort);
    if (call.signal.aborted) onAbort();
    try {
      return await Promise.race([aborted.promise, (async () => this.script(asked))()]);
    } finally {
      call.signal.removeEventListener("abort", onAbort);
      this.working -= 1;
    }
  }

  async warmUp() {}

  async probe() {
    return { reachable: true, version: "1", models: null };
  }

  /** The bodies of the chats so far. */
  get chats(): ChatBody[] {
    return this.asked.map(({ body }) => body as ChatBody);
  }
}

export function chatAnswer(text: string, finish_reason = "stop"): EngineAnswer {
  const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
  const choices = [{ index: 0, message: { role: "assistant", content: text }, finish_reason }];
  return { output: { object: "chat.completion", model: "tiny", choices, usage }, usage };
}

/** A script whose calls wait until they are let go, in any order. */
export function holding() {
  const waiting: ((answer: EngineAnswer) => void)[] = [];
  return {
    waiting,
    script: () => new Promise<EngineAnswer>((resolve) => void waiting.push(resolve)),
    release: (answer = chatAnswer("Hello")) => {
      for (const resolve of waiting.splice(0)) resolve(answer);
    },
  };
}
