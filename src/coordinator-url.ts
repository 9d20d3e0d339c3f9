import { BlockList, isIPv4, isIPv6 } from "node:net";
import { showValue } from "./redact.ts";

const SECRET_NAME = /token|key|secret|password/i;

/** The coordinator's WebSocket URL; null where none is given. What is wrong with it is added to the problems. */
export function coordinatorUrl(given: string | undefined, problems: string[]): string | null {
  if (!given || !URL.canParse(given)) return null;
  const url = new URL(given.replace(/^http/i, "ws"));
  if (url.username || url.password || [...url.searchParams.keys()].some((name) => SECRET_NAME.test(name))) {
    problems.push(
      "COORDINATOR_URL carries credentials (not shown); allowed: a URL without them, and COORDINATOR_TOKEN or COORDINATOR_TOKEN_FILE.",
    );
  }
  if (url.protocol === "ws:" && !isPrivateHost(url.hostname)) {
    problems.push(
      `COORDINATOR_URL is ${showValue(given)}; allowed: wss:// for a host outside loopback and private networks.`,
    );
  }
  // A WebSocket takes no fragment.
  url.hash = "";
  return url.href;
}

const privateNetworks = new BlockList();
for (const [network, prefix] of [
  ["127.0.0.0", 8],
  ["10.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["169.254.0.0", 16],
  ["100.64.0.0", 10],
] as const) {
  privateNetworks.addSubnet(network, prefix);
}
privateNetworks.addAddress("::1", "ipv6");
privateNetworks.addSubnet("fc00::", 7, "ipv6");
privateNetworks.addSubnet("fe80::", 10, "ipv6");

/** Hosts to which an unencrypted connection is taken for private: loopback, private ranges, names without a public suffix. */
function isPrivateHost(host: string): boolean {
  const address = host.replace(/^\[|\]$/g, "");
  if (isIPv4(address)) return privateNetworks.check(address);
  if (isIPv6(address)) return privateNetworks.check(address, "ipv6");
  return !host.includes(".") || /\.(local|internal|lan|svc|cluster\.local|home\.arpa|localhost)$/i.test(host);
}
