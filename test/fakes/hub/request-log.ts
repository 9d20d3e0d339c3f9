export type HostName = "hub" | "cdn";

/** One request as the server saw it; `status` and `bytesSent` grow while it is answered. */
export interface HubRequest {
  host: HostName;
  method: string;
  /** The path as it came, still percent-encoded, without the query. */
  path: string;
  /** Without the question mark; "" when there is none. */
  query: string;
  range: string | undefined;
  authorization: boolean;
  token?: string;
  /** 0 while nothing was answered. */
  status: number;
  /** Body bytes handed to the socket, exact for every body that was not cut by the client. */
  bytesSent: number;
  /** Set once a repository was found for it. */
  repo?: string;
  /** Set when the answer's body is the content of this file of it. */
  file?: string;
  /** performance.now() at arrival. */
  at: number;
}

export interface BytesFilter {
  repo?: string;
  file?: string;
  host?: HostName;
}

export class RequestLog {
  readonly requests: HubRequest[] = [];
  #open = { hub: 0, cdn: 0 };
  #peak = { hub: 0, cdn: 0 };

  begin(request: HubRequest): () => void {
    this.requests.push(request);
    const { host } = request;
    this.#open[host]++;
    this.#peak[host] = Math.max(this.#peak[host], this.#open[host]);
    return () => {
      this.#open[host]--;
    };
  }

  bytesServed(filter: BytesFilter = {}): number {
    return this.requests
      .filter(({ file, status }) => file !== undefined && (status === 200 || status === 206))
      .filter((request) => (Object.keys(filter) as (keyof BytesFilter)[]).every((key) => request[key] === filter[key]))
      .reduce((sum, request) => sum + request.bytesSent, 0);
  }

  /** The most requests that were being answered at one moment. */
  peak(host: HostName): number {
    return this.#peak[host];
  }

  clear(): void {
    this.requests.length = 0;
    this.#peak = { ...this.#open };
  }
}
