/**
 * The JSON in a vendor tool's output, or null. ROCm's tools print warnings before and after it, as in
 * "WARNING: AMD GPU device(s) is/are in a low-power state".
 */
export function toolJson(output: string): unknown {
  const start = output.search(/[[{]/);
  const end = Math.max(output.lastIndexOf("}"), output.lastIndexOf("]"));
  if (start < 0 || end < start) return null;
  try {
    return JSON.parse(output.slice(start, end + 1));
  } catch {
    return null;
  }
}
