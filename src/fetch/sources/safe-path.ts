/** A relative path that stays below the folder it is joined to. */
export function isSafePath(path: string): boolean {
  const parts = path.split("/");
  return (
    path.length > 0 &&
    !path.includes("\\") &&
    !path.includes("\0") &&
    parts.every((part) => part !== "" && part !== "." && part !== "..")
  );
}
