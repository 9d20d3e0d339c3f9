const WORDS = new Set(["and", "or", "unless", "bool", "offset"]);
const LISTS = /\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)/g;

/** Names of metrics and of labels that an expression of Prometheus has. */
export function namesIn(expression: string): { metrics: string[]; labels: string[] } {
  const labels: string[] = [];
  const unquoted = expression.replace(/"(?:[^"\\]|\\.)*"/g, '""');
  const bare = unquoted
    .replace(/\{([^}]*)\}/g, (_, matchers: string) => {
      labels.push(...[...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, name = ""]) => name));
      return " ";
    })
    .replace(/\[[^\]]*\]/g, " ")
    .replace(LISTS, (_, _word, list: string) => {
      labels.push(
        ...list
          .split(",")
          .map((name) => name.trim())
          .filter(Boolean),
      );
      return " ";
    });
  const words = [...bare.matchAll(/(?<![\w:.])([a-zA-Z_:][\w:]*)\s*(\(?)/g)];
  const metrics = words.filter(([, name = "", call]) => !call && !WORDS.has(name)).map(([, name = ""]) => name);
  return { metrics, labels };
}
