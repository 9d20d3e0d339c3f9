import { createHmac, randomBytes } from "node:crypto";

const HOUR = 3600 * 1000;

/** Makes and checks the CDN's signed URLs, and counts how often each one was used. */
export class UrlSigner {
  readonly #secret = randomBytes(32);
  readonly #uses = new Map<string, number>();
  #serial = 0;

  /** The query that opens `path` for an hour; never the same twice. */
  sign(path: string): string {
    const issued = Date.now();
    const expires = issued + HOUR;
    const serial = ++this.#serial;
    const signature = this.#signature(path, issued, expires, serial);
    return new URLSearchParams({
      Issued: String(issued),
      Expires: String(expires),
      Serial: String(serial),
      Signature: signature,
    }).toString();
  }

  /** Undefined when the signature is wrong or its hour is over. */
  check(path: string, query: URLSearchParams): { uses: number; age: number; use: () => void } | undefined {
    const [issued, expires, serial] = ["Issued", "Expires", "Serial"].map((name) => Number(query.get(name)));
    const signature = query.get("Signature") ?? "";
    if (signature !== this.#signature(path, issued!, expires!, serial!) || Date.now() > expires!) return undefined;
    const uses = this.#uses.get(signature) ?? 0;
    return { uses, age: Date.now() - issued!, use: () => this.#uses.set(signature, uses + 1) };
  }

  #signature(path: string, issued: number, expires: number, serial: number): string {
    return createHmac("sha256", this.#secret).update(`${path} ${issued} ${expires} ${serial}`).digest("hex");
  }
}
