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

/**
 * @param {string} path
 * @param {{ method?: string, signal?: AbortSignal, key?: string | null }} [options] `key`: this one, not the one that is kept
 * @returns {Promise<Response>} of success; throws ApiError otherwise
 */
export async function call(path, { method = "GET", signal, key = sessionStorage.getItem(NAME) } = {}) {
  const headers = new Headers();
  if (key !== null) headers.set("authorization", `Bearer ${key}`);
  const response = await fetch(path, { method, headers, signal, cache: "no-store", credentials: "omit" });
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new ApiError(response.status, body?.error?.message ?? `The coordinator answered ${response.status}.`);
}

/**
 * @param {string} path
 * @param {{ method?: string, signal?: AbortSignal }} [options]
 */
export async function callJson(path, options) {
  return (await call(path, options)).json();
}
