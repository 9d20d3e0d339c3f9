import { posix } from "node:path";
import { MusterError } from "../../errors.ts";
import type { FileSpec } from "../../model.ts";

/** A file as it lies here, and its name for the server. */
export interface LocalFile {
  /** Relative, as the server is told. */
  path: string;
  /** On this machine. */
  place: string;
  size: number;
  /** Hex; null where it has to be read for that. */
  sha256: string | null;
}

type Named = Pick<FileSpec, "path">;

/**
 * What of a model's files Ollama makes a model of: the GGUF files, or the safetensors of one folder with what describes
 * them. Throws SOURCE_UNSUPPORTED where there is neither.
 */
export function filesToCreate<File extends Named>(files: readonly File[], where: string): File[] {
  const gguf = files.filter(({ path }) => /\.gguf$/i.test(path));
  const root = shortest(
    files.filter(({ path }) => /\.safetensors$/i.test(path)).map(({ path }) => posix.dirname(path)),
  );
  if (root !== null) {
    const inRoot = files.filter(({ path }) => posix.dirname(path) === root);
    const wanted = /\.(safetensors|json)$|^tokenizer\.model$/i;
    return inRoot.filter(({ path }) => wanted.test(posix.basename(path)));
  }
  if (gguf.length > 0) return gguf;
  throw new MusterError("SOURCE_UNSUPPORTED", `${where} has neither GGUF files nor safetensors.`, {
    hint: "Name a repository, a folder or a file that has; `muster catalog add REF` shows what a repository has.",
  });
}

/** The name nearest to the top. */
function shortest(folders: readonly string[]): string | null {
  return folders.toSorted((a, b) => a.split("/").length - b.split("/").length)[0] ?? null;
}
