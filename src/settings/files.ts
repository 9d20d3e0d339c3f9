import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { registerSecret, showValue } from "../redact.ts";
import { token } from "./values.ts";

/** Files that settings name, and secrets, which come by value or in such a file. What is wrong is added to `problems`. */

/** The path that a setting gives as a path or a file:// URL; null where it is not set. */
export function filePath(name: string, given: string | undefined, problems: string[]): string | null {
  if (!given) return null;
  try {
    return given.startsWith("file:") ? fileURLToPath(given) : resolve(given);
  } catch {
    problems.push(`${name} is ${showValue(given)}; allowed: a path or file:// URL of this machine.`);
    return null;
  }
}

/** A secret as it is used: trimmed, and registered for redaction. */
export function secret(value: string | undefined): string | null {
  const trimmed = value?.trim();
  if (!trimmed) return null;
  registerSecret(trimmed);
  return trimmed;
}

/** The content of a secret file. A file that was named (not a default place) has to be readable and usable. */
export function secretFile(name: string | null, file: string | undefined, problems: string[]): string | null {
  if (!file) return null;
  const content = name ? readable(name, file, problems) : readIfThere(file);
  if (content === null) return null;
  const value = usableToken(content);
  if (value === null && name)
    problems.push(
      `${name} names ${file}, which ${content.trim() ? "holds something unusable (not shown)" : "is empty"}; allowed: a file with one token.`,
    );
  return value;
}

/** The token that a file holds now; null where it is away, empty or half written. */
export function readToken(file: string): string | null {
  return usableToken(readIfThere(file));
}

function usableToken(content: string | null): string | null {
  const value = secret(content ?? undefined);
  return value !== null && token.safeParse(value).success ? value : null;
}

/** The text of a file that a setting names. */
export function readable(name: string, file: string, problems: string[]): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    problems.push(
      `${name} is ${JSON.stringify(file)}, which cannot be read (${(error as NodeJS.ErrnoException).code}); allowed: a readable file.`,
    );
    return null;
  }
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return null;
  }
}
