/** Numbers, sizes and times as people read them. */

/** @param {number} bytes */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${round(value, unit === 0)} ${units[unit]}`;
}

/** @param {number} mib */
export function memory(mib) {
  const gib = mib / 1024;
  return gib >= 1024 ? `${round(gib / 1024)} TiB` : `${round(gib)} GiB`;
}

/**
 * @param {number} used MiB
 * @param {number} total MiB
 */
export function memoryOf(used, total) {
  return total >= 1024 * 1024
    ? `${round(used / 1048576)} / ${memory(total)}`
    : `${round(used / 1024)} / ${memory(total)}`;
}

/** @param {number} ms */
export function duration(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

/**
 * In words of one unit, so that it does not change each second.
 * @param {number} ms
 */
export function roughly(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** @param {number} ms Of the clock. */
export function clock(ms) {
  return new Date(ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** @param {number} value */
export function count(value) {
  return value.toLocaleString("en").replaceAll(",", "\u202f");
}

/**
 * @param {number} n
 * @param {string} one
 * @param {string} [many]
 */
export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/**
 * @param {number} value
 * @param {boolean} [whole]
 */
export function round(value, whole = false) {
  return whole || value >= 100 ? String(Math.round(value)) : String(Math.round(value * 10) / 10);
}

/**
 * Bytes still to come, as a share, a rate and a time.
 * @param {{ bytesDone: number, bytesTotal: number, rate: number }} download
 */
export function progress({ bytesDone, bytesTotal, rate }) {
  const share = bytesTotal > 0 ? `${Math.floor((100 * bytesDone) / bytesTotal)} %` : "size unknown";
  if (rate <= 0) return `${share}`;
  const left = bytesTotal > bytesDone ? ` · ${roughly((1000 * (bytesTotal - bytesDone)) / rate)} left` : "";
  return `${share} · ${size(rate)}/s${left}`;
}
