import { MusterError } from "../errors.ts";
import { diskSpace } from "../system.ts";

export interface Reservation {
  /** Bytes that have been written and are therefore no longer free on the disk either. */
  written(bytes: number): void;
  release(): void;
}

export interface DiskLimits {
  /** Null: the usual reserve. */
  minFreeBytes: number | null;
  /** What models may take altogether; null: as much as there is. */
  maxCacheBytes: number | null;
  /** What they take now. */
  usedBytes: () => Promise<number>;
}

/** Promises space to transfers that run side by side, so that they do not fill the disk together. */
export class DiskBudget {
  readonly #limits: DiskLimits;
  #outstanding = 0;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(limits: DiskLimits) {
    this.#limits = limits;
  }

  /** Throws DISK_FULL or QUOTA_EXCEEDED, before the first byte, where the missing bytes and the reserve do not fit. */
  reserve(path: string, bytes: number, name: string): Promise<Reservation> {
    const result = this.#turn.then(() => this.#reserve(path, bytes, name));
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #reserve(path: string, bytes: number, name: string): Promise<Reservation> {
    const { free, size } = await diskSpace(path);
    const keepFree = reserveBytes(this.#limits.minFreeBytes, size);
    const have = free - this.#outstanding - keepFree;
    if (bytes > have) {
      const missing = bytes - have;
      throw new MusterError(
        "DISK_FULL",
        `${name} needs ${gb(bytes)}, and ${path} has ${gb(Math.max(0, have))} to spare (${gb(free)} free, ${gb(keepFree)} kept free, ${gb(this.#outstanding)} promised to others).`,
        {
          hint: `Free ${gb(missing)} or enlarge the volume (\`muster list\` shows what is stored), or lower MIN_FREE_GB; then run \`muster sync\`.`,
          details: { needBytes: bytes, haveBytes: have },
        },
      );
    }
    await this.#checkQuota(bytes, name);
    let left = bytes;
    this.#outstanding += left;
    const settle = (count: number) => {
      const settled = Math.min(left, count);
      left -= settled;
      this.#outstanding -= settled;
    };
    return { written: (count) => settle(Math.max(0, count)), release: () => settle(left) };
  }

  async #checkQuota(bytes: number, name: string): Promise<void> {
    const { maxCacheBytes, usedBytes } = this.#limits;
    if (maxCacheBytes === null || bytes === 0) return;
    const have = maxCacheBytes - (await usedBytes()) - this.#outstanding;
    if (bytes <= have) return;
    throw new MusterError(
      "QUOTA_EXCEEDED",
      `${name} needs ${gb(bytes)}, and of MAX_CACHE_GB (${gb(maxCacheBytes)}) ${gb(Math.max(0, have))} are left.`,
      {
        hint: "Remove models (`muster list` shows what is stored) or raise MAX_CACHE_GB; then run `muster sync`.",
        details: { needBytes: bytes, haveBytes: have },
      },
    );
  }
}

/** Bytes that fetching leaves free on a volume of that size. */
export function reserveBytes(configured: number | null, volumeSize: number): number {
  return configured ?? Math.min(1e9, volumeSize * 0.02);
}

function gb(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
