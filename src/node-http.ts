/**
 * `node:http` and `node:https` without what an ES import of them costs: it reads every export at once, and reading
 * `WebSocket` among them loads Node's own undici (30 ms and several MiB, in each thread). Loaded by the first call.
 */
export const nodeHttp = () => process.getBuiltinModule("node:http");
export const nodeHttps = () => process.getBuiltinModule("node:https");
