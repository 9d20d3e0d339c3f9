import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { seededRandom } from "../../seeded-random.ts";
import { Connection } from "./connection.ts";
import { CongestionWindow } from "./window.ts";

/**
 * A long link, as a process of its own: `delaying-proxy.ts PORT ONE_WAY_MS LOSS SEED` listens on a free port, which it
 * prints, and passes connections on to PORT of this machine. The n-th connection of each process with the same seed has
 * the same luck.
 */

const [port = 0, oneWayMs = 0, loss = 0, seed = 0] = process.argv.slice(2).map(Number);
const TICK_MS = 2;
const connections = new Set<Connection>();
let accepted = 0;
let timer: NodeJS.Timeout | null = null;

const server = createServer({ allowHalfOpen: true }, (socket) => {
  accepted += 1;
  const window = new CongestionWindow(loss, seededRandom(seed * 65_537 + accepted).next);
  connections.add(new Connection(socket, { port, oneWayMs, window }));
  timer ??= setInterval(tick, TICK_MS);
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
process.stdout.write(`${(server.address() as AddressInfo).port}\n`);

function tick(): void {
  const now = performance.now();
  for (const connection of connections) {
    connection.tick(now);
    if (connection.closed) connections.delete(connection);
  }
  if (connections.size > 0 || !timer) return;
  clearInterval(timer);
  timer = null;
}
