import type { Dispatcher, RequestInit, Response } from "undici";
import type { DispatcherOptions } from "./dispatcher.ts";

/** Asks over HTTP. The library is large: it loads with the first question, and never where everything is on the volume. */
export class HttpClient implements AsyncDisposable {
  readonly #options: DispatcherOptions;
  #opening: Promise<Dispatcher> | null = null;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** The connections, opened by the first call. */
  dispatcher(): Promise<Dispatcher> {
    this.#opening ??= import("./dispatcher.ts").then(({ createDispatcher }) => createDispatcher(this.#options));
    return this.#opening;
  }

  async fetch(url: string, init: RequestInit): Promise<Response> {
    const dispatcher = await this.dispatcher();
    const { fetch } = await import("./dispatcher.ts");
    return fetch(url, { ...init, dispatcher });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#opening)?.destroy();
  }
}
