import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type NginxOptions, startNginx } from "../hub/nginx.ts";
import type { Workplace } from "../workplace.ts";
import { openNamespace } from "./netem.ts";

/** A way between client and server. */
export interface Link {
  oneWayMs: number;
  /** Share of segments lost. */
  loss: number;
}

/** Where a tool finds the hub, and what it is started by. */
export interface Route extends AsyncDisposable {
  endpoint: string;
  prefix: string[];
  /** How the link is made; null where there is none. */
  means: "tc netem" | "delaying proxy" | null;
}

export interface LinkOptions {
  link: Link;
  /** The plain port of the nginx that is up. */
  port: number;
  /** For another nginx, on the other side of netem. */
  nginx: NginxOptions;
  seed: number;
}

/** Opens the link for one run: netem where the kernel has it, else the proxy. */
export async function openLink(place: Workplace, { link, port, nginx, seed }: LinkOptions): Promise<Route> {
  const namespace = await openNamespace(place, link);
  if (namespace) {
    const { prefix, holder } = namespace;
    const inside = await startNginx(place, { ...nginx, prefix });
    return {
      endpoint: `http://127.0.0.1:${inside.ports.plain}`,
      prefix,
      means: "tc netem",
      async [Symbol.asyncDispose]() {
        await place.stop(inside.process);
        await place.stop(holder);
      },
    };
  }
  const program = join(import.meta.dirname, "delaying-proxy.ts");
  const args = [port, link.oneWayMs, link.loss, seed].map(String);
  const proxy = place.start([process.execPath, program, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(createInterface({ input: proxy.stdout! }), "line", { signal: place.signal });
  return {
    endpoint: `http://127.0.0.1:${line}`,
    prefix: [],
    means: "delaying proxy",
    [Symbol.asyncDispose]: () => place.stop(proxy),
  };
}
