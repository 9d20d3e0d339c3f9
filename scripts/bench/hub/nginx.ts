import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Workplace } from "../workplace.ts";
import type { Certificates } from "./certificates.ts";

/** Bytes a second that one connection gets on the capped port. */
export const CAP = 50_000_000;

export interface NginxOptions {
  /** Directives for `http` and for each `server`. */
  site: { http: string; server: string };
  certificates: Certificates;
  /** What the program is started by, for a network namespace. */
  prefix?: string[];
}

/** Which of nginx's ports a scenario asks. */
export type PortName = "plain" | "tls" | "capped";

export interface Nginx {
  ports: Record<PortName, number>;
  process: ChildProcess;
}

let started = 0;

/** Starts nginx on loopback with a configuration of its own; ready when this returns. */
export async function startNginx(place: Workplace, { site, certificates, prefix = [] }: NginxOptions): Promise<Nginx> {
  const folder = join(place.folder, `nginx-${++started}`);
  await mkdir(folder);
  const ports = { plain: await freePort(), tls: await freePort(), capped: await freePort() };
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const config = join(folder, "nginx.conf");
  await writeFile(
    config,
    `daemon off;
worker_processes 1;
pid ${folder}/pid;
error_log stderr warn;
${process.getuid?.() === 0 ? "user root;" : ""}
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 300s;
  keepalive_requests 1000000;
  default_type application/octet-stream;
${temporary.map((name) => `  ${name}_temp_path ${folder}/${name};`).join("\n")}
${site.http}
server { listen 127.0.0.1:${ports.plain};
location = /ready { return 204; }
${site.server}
}
server { listen 127.0.0.1:${ports.capped}; limit_rate ${CAP};
${site.server}
}
server { listen 127.0.0.1:${ports.tls} ssl;
ssl_certificate ${certificates.certificate};
ssl_certificate_key ${certificates.key};
${site.server}
}
}
`,
  );
  const child = place.start([...prefix, "nginx", "-p", folder, "-c", config, "-e", "stderr"]);
  for (let attempt = 0; child.exitCode === null; attempt += 1) {
    const url = `http://127.0.0.1:${ports.plain}/ready`;
    // curl, so that it can be asked from inside a network namespace.
    const isUp = await place.run([...prefix, "curl", "-sf", url]).then(
      () => true,
      () => false,
    );
    if (isUp) return { ports, process: child };
    if (attempt === 50) break;
    await sleep(100, undefined, { signal: place.signal });
  }
  await place.stop(child);
  throw new Error("nginx does not come up; what it says is above");
}

/** Of a port that nobody listens on at this moment; nginx itself cannot say which one it took. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
