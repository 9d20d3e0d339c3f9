import type { IncomingMessage } from "node:http";
import { refusal } from "../refusal.ts";
import { type ClientKey, type KeyLimits, NO_LIMITS } from "./client-keys.ts";
import { bearerOf, isSame } from "./secret.ts";
import { TokenBuckets } from "./token-buckets.ts";

/** The digest of the secret that holds now; null: there is none. */
export type Secret = () => Buffer | null;

export interface AccessOptions {
  /** Of workers. Null lets any in. */
  workerToken: Secret;
  /** Of callers of the HTTP API, who are administrators too while there is no admin token and no key. Null lets any in. */
  clientToken: Secret;
  adminToken: Secret;
  /** As they are now; null: there are none. */
  clientKeys: () => readonly ClientKey[] | null;
  /** Jobs that may wait, of each key that does not say so itself. */
  maxQueuePerKey: number | null;
}

/** Who makes a request. */
export interface Caller {
  /** Of its key; null where keys have no names. */
  name: string | null;
  /** May see and steer all. */
  isAdmin: boolean;
  limits: KeyLimits;
  /** One of a model's names is enough. */
  mayUse(modelNames: readonly string[]): boolean;
}

/** Wrong tokens that one address may show in a minute. */
const FAILURES_PER_MINUTE = 20;

/** Knows who asks by what they show, and keeps those who guess waiting. */
export class Access {
  readonly #options: AccessOptions;
  readonly #failures = new TokenBuckets();

  constructor(options: AccessOptions) {
    this.#options = options;
  }

  /** Nobody has to show anything. */
  get isOpen(): boolean {
    const { clientToken, adminToken, clientKeys } = this.#options;
    return clientToken() === null && adminToken() === null && clientKeys() === null;
  }

  get workersAreOpen(): boolean {
    return this.#options.workerToken() === null;
  }

  /** Throws TOKEN_INVALID, and RATE_LIMITED after too many of these from one address. */
  caller(request: IncomingMessage): Caller {
    if (this.isOpen) return callerOf(null, true, NO_LIMITS);
    const given = this.#given(request);
    const { clientToken, adminToken, clientKeys } = this.#options;
    const keys = clientKeys();
    const isAlone = adminToken() === null && keys === null;
    // All are compared, so that the time tells nothing.
    const isAdmin = isSame(given, adminToken());
    const isClient = isSame(given, clientToken());
    const found = (keys ?? []).filter((key) => isSame(given, key.digest));
    if (isAdmin) return callerOf(null, true, NO_LIMITS);
    if (found[0]) return callerOf(found[0].name, false, found[0].limits);
    if (isClient) return callerOf(null, isAlone, NO_LIMITS);
    throw this.#refused(request);
  }

  /** For the connection of a worker; throws like {@link caller}. */
  worker(request: IncomingMessage): void {
    if (this.workersAreOpen || isSame(this.#given(request), this.#options.workerToken())) return;
    throw this.#refused(request);
  }

  boundsOf(client: string | null): Pick<KeyLimits, "concurrent" | "queued"> {
    const { clientKeys, maxQueuePerKey } = this.#options;
    const limits = clientKeys()?.find(({ name }) => name === client)?.limits ?? NO_LIMITS;
    return { concurrent: limits.concurrent, queued: limits.queued ?? (client === null ? null : maxQueuePerKey) };
  }

  sweep(): void {
    this.#failures.sweep();
  }

  #given(request: IncomingMessage): Buffer | null {
    const retryAfterMs = this.#failures.wait(addressOf(request), FAILURES_PER_MINUTE);
    if (retryAfterMs === 0) return bearerOf(request);
    throw refusal("RATE_LIMITED", "Too many wrong tokens came from this address.", "Wait, and use the right one.", {
      retryAfterMs,
    });
  }

  #refused(request: IncomingMessage) {
    this.#failures.take(addressOf(request), FAILURES_PER_MINUTE);
    const hint = "Send the key as `Authorization: Bearer KEY`.";
    return refusal("TOKEN_INVALID", "The bearer token is missing or wrong.", hint);
  }
}

function addressOf({ socket }: IncomingMessage): string {
  return socket.remoteAddress ?? "";
}

function callerOf(name: string | null, isAdmin: boolean, limits: KeyLimits): Caller {
  const { models } = limits;
  return { name, isAdmin, limits, mayUse: (names) => models === null || names.some((each) => models.includes(each)) };
}
