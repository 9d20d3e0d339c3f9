/** The files around the weights that every repository on the Hub has. */

/** What the Hub puts into a new model repository. */
export function gitAttributes(): string {
  const names = ["*.bin", "*.h5", "*.model", "*.msgpack", "*.onnx", "*.ot", "*.pt", "*.pth", "*.safetensors", "*.gguf"];
  return names.map((name) => `${name} filter=lfs diff=lfs merge=lfs -text\n`).join("");
}

export function readme(id: string, frontMatter: Record<string, string | string[]>): string {
  const lines = Object.entries(frontMatter).flatMap(([key, value]) =>
    Array.isArray(value) ? [`${key}:`, ...value.map((item) => `- ${item}`)] : [`${key}: ${value}`],
  );
  return `---\n${lines.join("\n")}\n---\n\n# ${id}\n\nA tiny model with random weights, for tests.\n`;
}
