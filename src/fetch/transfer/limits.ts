/**
 * What the transfer threads of a process have together: places for connections, and a bandwidth. Plain shared memory,
 * so that no message has to be waited for.
 */
export interface SharedLimits {
  /** [places that are free] */
  places: Int32Array;
  /** [when the bandwidth is next free, nanoseconds of the process's monotonic clock] */
  clock: BigInt64Array;
  /** Bytes a second; null without a limit. */
  bandwidth: number | null;
}

export type Pace = Pick<SharedLimits, "clock" | "bandwidth">;

export function createPace(bandwidth: number | null): Pace {
  return { clock: new BigInt64Array(new SharedArrayBuffer(8)), bandwidth };
}

export function createLimits(connections: number, pace: Pace): SharedLimits {
  const places = new Int32Array(new SharedArrayBuffer(4));
  places[0] = connections;
  return { places, ...pace };
}

/** False when all places are taken. */
export function takePlace({ places }: SharedLimits): boolean {
  for (;;) {
    const free = Atomics.load(places, 0);
    if (free <= 0) return false;
    if (Atomics.compareExchange(places, 0, free, free - 1) === free) return true;
  }
}

export function freePlaces({ places }: SharedLimits): number {
  return Atomics.load(places, 0);
}

export function leavePlace({ places }: SharedLimits): void {
  Atomics.add(places, 0, 1);
}

/** Milliseconds to wait after these bytes, so that all threads together keep to the bandwidth. */
export function delayFor(bytes: number, { clock, bandwidth }: Pace): number {
  if (bandwidth === null) return 0;
  const cost = BigInt(Math.ceil((bytes / bandwidth) * 1e9));
  for (;;) {
    const now = process.hrtime.bigint();
    const free = Atomics.load(clock, 0);
    const next = (free > now ? free : now) + cost;
    if (Atomics.compareExchange(clock, 0, free, next) === free) return Number(next - now) / 1e6;
  }
}
