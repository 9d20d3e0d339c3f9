import { createHash } from "node:crypto";
import * as z from "zod";
import { MusterError, toMusterError } from "../../errors.ts";
import type { FileSpec } from "../../model.ts";
import { registerSecret } from "../../redact.ts";
import { type AskOptions, ask } from "../ask.ts";
import type { HttpSubject } from "../http-errors.ts";
import type { OllamaKey } from "./ollama-key.ts";

interface Token {
  value: string;
  /** By this process's monotonic clock. */
  expiresAt: number;
}

const answerSchema = z
  .object({ token: z.string().min(1).optional(), access_token: z.string().min(1).optional(), expires_in: z.number() })
  .partial();
/** What registries mean where they say nothing. */
const USUAL_LIFE_S = 60;
/** A token that is about to expire is not begun with. */
const SPARE_MS = 5_000;

/** What is asked about, and how. */
export interface Question {
  subject: HttpSubject;
  options: AskOptions;
}

export interface AuthorizedQuestion extends Question {
  headers: Record<string, string>;
}

/** Tokens of registries that ask for one: got for a signature by the worker's key, and kept for as long as they hold. */
export class RegistryTokens {
  readonly #key: () => Promise<OllamaKey>;
  /** By model URL; null where no token is asked for. */
  readonly #tokens = new Map<string, Token | null>();
  readonly #asking = new Map<string, Promise<unknown>>();
  readonly #handedOut = new WeakMap<FileSpec, Token>();

  constructor(key: () => Promise<OllamaKey>) {
    this.#key = key;
  }

  /** Asks with the model's token, and once more with a new one where the answer is 401 and says where one is had. */
  async ask<T>(modelUrl: string, question: Question, work: (asked: AuthorizedQuestion) => Promise<T>): Promise<T> {
    let challenge = "";
    const onChallenge = (said: string) => {
      challenge = said;
    };
    const options = { ...question.options, onChallenge };
    const attempt = (token: Token | null) =>
      work({
        options,
        subject: { ...question.subject, tokenSent: token !== null },
        headers: token ? { authorization: `Bearer ${token.value}` } : {},
      });
    try {
      const result = await attempt(this.#current(modelUrl));
      if (!this.#tokens.has(modelUrl)) this.#tokens.set(modelUrl, null);
      return result;
    } catch (error) {
      if (!/^bearer /i.test(challenge)) throw error;
      const token = await this.#request(challenge, modelUrl, question);
      this.#tokens.set(modelUrl, token);
      return attempt(token);
    }
  }

  /**
   * The Authorization header for a file, null where none is asked for. `probe` asks the registry something through
   * {@link ask}; that is done where nothing is known yet, the token has expired, or this file was refused with it.
   */
  async authorization(modelUrl: string, file: FileSpec, probe: () => Promise<unknown>): Promise<string | null> {
    const known = this.#current(modelUrl);
    if (known && this.#handedOut.get(file) === known) this.#tokens.delete(modelUrl);
    if (this.#current(modelUrl) === null && this.#tokens.get(modelUrl) !== null) await this.#once(modelUrl, probe);
    const token = this.#current(modelUrl);
    if (token) this.#handedOut.set(file, token);
    return token && `Bearer ${token.value}`;
  }

  #current(modelUrl: string): Token | null {
    const token = this.#tokens.get(modelUrl) ?? null;
    return token && token.expiresAt - SPARE_MS > performance.now() ? token : null;
  }

  /** Files are fetched side by side; one question serves all. */
  #once(modelUrl: string, probe: () => Promise<unknown>): Promise<unknown> {
    const asking = this.#asking.get(modelUrl) ?? probe().finally(() => this.#asking.delete(modelUrl));
    this.#asking.set(modelUrl, asking);
    return asking;
  }

  async #request(challenge: string, modelUrl: string, { subject, options }: Question): Promise<Token> {
    const key = await this.#key();
    const url = tokenUrl(challenge, modelUrl, subject);
    // The empty body's digest in hex, once more encoded: as Ollama signs it.
    const digest = Buffer.from(createHash("sha256").update("").digest("hex")).toString("base64");
    const authorization = key.authorization(`GET,${url},${digest}`);
    const { text } = await ask(url, subject, options, { authorization }).catch((error: unknown) => {
      throw refused(toMusterError(error), subject, key);
    });
    const { token, access_token, expires_in = USUAL_LIFE_S } = parseAnswer(text);
    const value = token ?? access_token;
    if (value === undefined) throw invalidChallenge(subject, `${new URL(url).host} gave no token`);
    registerSecret(value);
    return { value, expiresAt: performance.now() + Math.max(expires_in * 1000, SPARE_MS * 2) };
  }
}

/** Where the token is had, with what is to be signed. */
function tokenUrl(challenge: string, modelUrl: string, subject: HttpSubject): string {
  const said = Object.fromEntries([...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]));
  const realm = said.realm ?? "";
  if (!URL.canParse(realm)) throw invalidChallenge(subject, "the registry does not say where its tokens are had");
  const url = new URL(realm);
  const registry = new URL(modelUrl);
  // A signature is for the registry itself, and never less well kept than the question was.
  if (url.host !== registry.host || (url.protocol !== registry.protocol && url.protocol !== "https:"))
    throw invalidChallenge(subject, `${registry.host} sends to ${url.origin} for a token, and only itself is trusted`);
  url.searchParams.set("nonce", crypto.randomUUID().replaceAll("-", ""));
  for (const scope of said.scope?.split(" ") ?? []) url.searchParams.append("scope", scope);
  url.searchParams.set("service", said.service ?? "");
  url.searchParams.set("ts", String(Math.floor(Date.now() / 1000)));
  url.searchParams.sort();
  return url.href;
}

function parseAnswer(text: string): z.output<typeof answerSchema> {
  try {
    return answerSchema.parse(JSON.parse(text));
  } catch {
    return {};
  }
}

function refused(error: MusterError, { name, page }: HttpSubject, { publicLine }: OllamaKey): MusterError {
  if (error.retryable) return error;
  return new MusterError("ACCESS_REFUSED", `The registry gives this worker no token for ${name}. ${error.message}`, {
    hint: `See ${page} for who may have it, and add the worker's public key to that account (at ollama.com/settings/keys): \`${publicLine}\``,
    cause: error,
  });
}

function invalidChallenge({ name }: HttpSubject, what: string): MusterError {
  return new MusterError("ACCESS_REFUSED", `${name} cannot be asked for: ${what}.`, {
    hint: "Check OLLAMA_REGISTRY and the host in the model's name; `muster doctor` tries them.",
  });
}
