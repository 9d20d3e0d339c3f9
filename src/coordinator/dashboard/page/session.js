/** The key, and requests that show it. It is kept for this tab only, and goes into no URL and no cookie. */

const NAME = "muster.key";

export function hasKey() {
  return sessionStorage.getItem(NAME) !== null;
}

/** @param {string} key */
export function keepKey(key) {
  sessionStorage.setItem(NAME, key);
}

export function forgetKey() {
  sessionStorage.removeItem(NAME);
}

/** Why the coordinator did not do what was asked. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** The key is missing, wrong, or one for something else. */
  get isRefusal() {
    return this.status === 401 || this.status === 403;
  }
}

/** @param {unknown} error */
export function errorText(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * @typedef {object} CallOptions
 * @property {string} [method]
 * @property {unknown} [body] As JSON
 * @property {AbortSignal} [signal]
 * @property {string | null} [key] This one, not the one that is kept
 */

/**
 * @param {string} path
 * @param {CallOptions} [options]
 * @returns {Promise<Response>} of success; throws ApiError otherwise
 */
export async function call(path, { method = "GET", body: sent, signal, key = sessionStorage.getItem(NAME) } = {}) {
  const headers = new Headers();
  if (key !== null) headers.set("authorization", `Bearer ${key}`);
  if (sent !== undefined) headers.set("content-type", "application/json");
  const body = sent === undefined ? undefined : JSON.stringify(sent);
  const response = await fetch(path, { method, headers, body, signal, cache: "no-store", credentials: "omit" });
  if (response.ok) return response;
  const answer = await response.json().catch(() => null);
  throw new ApiError(response.status, answer?.error?.message ?? `The coordinator answered ${response.status}.`);
}

/**
 * @param {string} path
 * @param {CallOptions} [options]
 */
export async function callJson(path, options) {
  return (await call(path, options)).json();
}
