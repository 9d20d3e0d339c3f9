import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { getProxyForUrl } from "proxy-from-env";
import type { Config } from "../../config.ts";
import type { Check } from "./check.ts";
import { TRY_MS } from "./knock.ts";

type Env = Record<string, string | undefined>;

/** The proxies that stand between this worker and its sources, and the authorities that it trusts beside the usual ones. */
export async function checkProxy(config: Config, env: Env = process.env): Promise<Check[]> {
  return [...twice(env), ...(await proxies(config)), ...(await authorities(env))];
}

/** Programs differ in which they read. */
function twice(env: Env): Check[] {
  const differing = ["http_proxy", "https_proxy", "no_proxy"].filter((name) => {
    const [lower, upper] = [env[name], env[name.toUpperCase()]];
    return lower && upper && lower !== upper;
  });
  return differing.map((name) => {
    const hint = `Set both to the same, or \`unset ${name}\`: programs differ in which they read.`;
    return { name: "proxy", result: "warn", found: `${name} and ${name.toUpperCase()} differ`, hint };
  });
}

async function proxies({ mirrors, ollamaRegistries, s3, offline }: Config): Promise<Check[]> {
  if (offline) return [];
  const hubs = mirrors.flatMap((place) => (place.kind === "hub" ? [place.endpoint] : []));
  const sources = [...hubs, ...ollamaRegistries, ...(s3.endpoint ? [s3.endpoint] : [])];
  const through = Map.groupBy(sources, (url) => getProxyForUrl(url));
  const direct = through.get("") ?? [];
  through.delete("");
  const past = direct.length > 0 ? `; directly: ${direct.map(hostOf).join(", ")}` : "";
  return Promise.all(
    [...through].map(async ([proxy, urls]): Promise<Check> => {
      const { host } = new URL(proxy);
      const latencyMs = await reach(proxy);
      const found = `${host} for ${urls.map(hostOf).join(", ")}${past}`;
      if (typeof latencyMs === "number")
        return { name: "proxy", result: "ok", found: `${found}, reached in ${latencyMs} ms`, latencyMs };
      const hint = "Correct HTTP_PROXY and HTTPS_PROXY, or name what is to be reached without it in NO_PROXY.";
      return {
        name: "proxy",
        result: "fail",
        found: `${host} cannot be reached (${latencyMs}); it is set for ${urls.map(hostOf).join(", ")}`,
        hint,
      };
    }),
  );
}

/** Milliseconds until it took a connection, or why it did not. */
function reach(proxy: string): Promise<number | string> {
  const { hostname, port, protocol } = new URL(proxy);
  const startedAt = performance.now();
  return new Promise((resolve) => {
    const socket = connect({
      host: hostname.replace(/^\[|\]$/g, ""),
      port: Number(port || (protocol === "https:" ? 443 : 80)),
      timeout: TRY_MS,
    });
    const end = (result: number | string) => {
      socket.destroy();
      resolve(result);
    };
    socket.on("connect", () => end(Math.round(performance.now() - startedAt)));
    socket.on("timeout", () => end("no answer"));
    socket.on("error", (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
  });
}

/** Node.js passes over a file that it cannot read, and says so where nobody looks. */
async function authorities(env: Env): Promise<Check[]> {
  const file = env.NODE_EXTRA_CA_CERTS;
  if (!file) return [];
  const hint =
    "Mount a PEM file there, readable for this user (`-v /etc/ssl/proxy.pem:/proxy.pem:ro`), or unset NODE_EXTRA_CA_CERTS.";
  const name = "authority";
  try {
    const text = await readFile(file, "utf8");
    const found = [...text.matchAll(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)];
    const certificates = found.map(([pem]) => new X509Certificate(pem));
    if (certificates.length === 0) return [{ name, result: "fail", found: `${file} holds no certificate`, hint }];
    // Bundles of a system hold some that have ended.
    const valid = certificates.filter(({ validToDate }) => validToDate.getTime() > Date.now());
    if (valid.length > 0) return [{ name, result: "ok", found: `${file} adds ${valid.length}` }];
    const ended = certificates.map(({ subject, validTo }) => `${subject.replaceAll("\n", ", ")} ended ${validTo}`);
    const wanted = "Get the present certificate from whoever runs the proxy, and mount that.";
    return [{ name, result: "fail", found: `${file}: ${ended.join("; ")}`, hint: wanted }];
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code ?? "it is none";
    return [{ name, result: "fail", found: `${file} cannot be read as certificates (${why})`, hint }];
  }
}

const hostOf = (url: string) => new URL(url).host;
