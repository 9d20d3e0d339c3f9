/** What documents show of a terminal: blocks of ```console with `$ command` and lines of what it prints. */

export interface Step {
  command: string;
  /** Lines, in order; others may stand between them. `…` stands for anything within a line. */
  prints: string[];
}

/** The steps of all console blocks of a Markdown text. */
export function stepsOf(markdown: string): Step[] {
  const steps: Step[] = [];
  for (const [, block = ""] of markdown.matchAll(/^```console\n((?:.|\n)*?)^```$/gm)) {
    for (const line of block.trimEnd().split("\n")) {
      if (line.startsWith("$ ")) steps.push({ command: line.slice(2), prints: [] });
      else if (line.trim() !== "…") steps.at(-1)?.prints.push(line);
    }
  }
  return steps;
}

/** The first line that was promised and not printed, or null. Times, sizes, digests and other numbers may differ. */
export function firstMissing({ prints }: Step, output: string): string | null {
  const lines = output.split("\n").map(alike);
  let at = 0;
  for (const promised of prints) {
    const pattern = new RegExp(`^${alike(promised).split("…").map(RegExp.escape).join(".*")}$`);
    const found = lines.findIndex((line, index) => index >= at && pattern.test(line));
    if (found < 0) return promised;
    at = found + 1;
  }
  return null;
}

function alike(line: string): string {
  return line
    .replace(/\d{4}-\d\d-\d\d[T ][\d:.]+Z?/g, "<time>")
    .replace(/\b[0-9a-f]{12,64}\b/g, "<digest>")
    .replace(/\b\d+(\.\d+)? ?(B|kB|MB|GB|TB|MiB|GiB)\b/g, "<size>")
    .replace(/\d+(\.\d+)?/g, "#")
    .replace(/\s+/g, " ")
    .trim();
}
