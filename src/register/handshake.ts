import { type ClientOptions, WebSocket } from "ws";
import type { ClientCertificate } from "../client-certificate.ts";
import { MusterError } from "../errors.ts";
import { SUBPROTOCOL } from "../protocol.ts";
import { registerSecret } from "../redact.ts";
import { answerError, connectError } from "./connect-error.ts";

export interface HandshakeOptions {
  /** Used as given; no path is appended. */
  url: string;
  /** Asked at every connection, so that a token file that was rotated is read again. */
  token: () => Promise<string | null>;
  ca?: string | Buffer;
  /** What a coordinator that asks for certificates is shown; asked at every connection, as is the token. */
  certificate?: () => Promise<ClientCertificate | null>;
  /** For everything from the name look-up to the answer to the upgrade. */
  handshakeTimeoutMs: number;
  signal: AbortSignal;
}

/** More than any `maxFrame` may ask this worker to hold in memory for one message. */
export const FRAME_CEILING = 64 * 1024 * 1024;
/** How long the peer gets to answer a close frame. */
const CLOSE_TIMEOUT_MS = 2_000;

/** The socket at once, so that it is watched from its first event on; `opened` settles with the answer to the upgrade. */
export async function startHandshake(
  options: HandshakeOptions,
): Promise<{ socket: WebSocket; opened: () => Promise<void> }> {
  const token = await readToken(options.token);
  const certificate = await options.certificate?.();
  options.signal.throwIfAborted();
  // The types lag behind: ws itself destroys a socket whose close frame stays unanswered this long.
  const settings: ClientOptions & { closeTimeout: number } = {
    headers: token === null ? {} : { authorization: `Bearer ${token}` },
    ca: options.ca,
    ...certificate,
    perMessageDeflate: false,
    followRedirects: false,
    maxPayload: FRAME_CEILING,
    closeTimeout: CLOSE_TIMEOUT_MS,
  };
  try {
    const socket = new WebSocket(options.url, SUBPROTOCOL, settings);
    return { socket, opened: () => opened(socket, options) };
  } catch (cause) {
    throw connectError(cause, options.url);
  }
}

async function readToken(read: HandshakeOptions["token"]): Promise<string | null> {
  try {
    const token = await read();
    if (token !== null) registerSecret(token);
    return token;
  } catch (cause) {
    throw new MusterError("COORDINATOR_REFUSED", "The token for the coordinator cannot be read.", {
      hint: "Make the file of COORDINATOR_TOKEN_FILE readable; this worker keeps trying, slowly.",
      cause,
    });
  }
}

async function opened(socket: WebSocket, options: HandshakeOptions): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(() => {
    reject(connectError(new Error(`no answer within ${options.handshakeTimeoutMs} ms`), options.url));
  }, options.handshakeTimeoutMs);
  socket.once("open", () => {
    // Nothing may be read before somebody listens, or a frame right behind the upgrade would be lost.
    socket.pause();
    resolve();
  });
  socket.once("unexpected-response", (_request, response) => {
    response.resume();
    reject(answerError(response.statusCode ?? 0, options.url));
  });
  socket.once("error", (error) => reject(connectError(error, options.url)));
  try {
    await promise;
  } catch (error) {
    socket.terminate();
    options.signal.throwIfAborted();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
