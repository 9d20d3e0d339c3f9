/** Buffers that sockets read into and that are written from as they are: forwarding copies nothing in this process. */

const SIZE = 128 << 10;
const KEPT = 1024;
const free: Buffer[] = [];

export const BufferPool = {
  take: (): Buffer => free.pop() ?? Buffer.allocUnsafeSlow(SIZE),
  give(buffer: Buffer): void {
    if (free.length < KEPT) free.push(buffer);
  },
};
