/** Byte ranges: start inclusive, end exclusive. A list of them is sorted, disjoint, without gaps of zero. */
export interface Range {
  start: number;
  end: number;
}

/** The list with the range added. */
export function addRange(ranges: readonly Range[], added: Range): Range[] {
  if (added.end <= added.start) return [...ranges];
  const before = ranges.filter((range) => range.end < added.start);
  const after = ranges.filter((range) => range.start > added.end);
  const touching = ranges.slice(before.length, ranges.length - after.length);
  const merged = {
    start: Math.min(added.start, ...touching.map((range) => range.start)),
    end: Math.max(added.end, ...touching.map((range) => range.end)),
  };
  return [...before, merged, ...after];
}

/** What the list does not hold of a range. */
export function gaps(ranges: readonly Range[], within: Range): Range[] {
  const found: Range[] = [];
  let position = within.start;
  for (const held of [...ranges, { start: within.end, end: within.end }]) {
    const end = Math.min(held.start, within.end);
    if (end > position) found.push({ start: position, end });
    position = Math.max(position, held.end);
  }
  return found;
}

export function totalBytes(ranges: readonly Range[]): number {
  return ranges.reduce((sum, range) => sum + range.end - range.start, 0);
}

/** Bytes held from the very start on without a gap. */
export function contiguousPrefix(ranges: readonly Range[]): number {
  const first = ranges[0];
  return first?.start === 0 ? first.end : 0;
}
