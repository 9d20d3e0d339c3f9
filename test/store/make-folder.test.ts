import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { makeFolder } from "../../src/store/make-folder.ts";
import { mountTmpfs, remountReadOnly } from "./mount.ts";
import { temporaryFolder } from "./temporary-folder.ts";

it("makes what is missing, and takes what is there, also from others at the same time", async () => {
  const root = temporaryFolder();
  await Promise.all(Array.from({ length: 20 }, (_, index) => makeFolder(join(root, "a/b/c", String(index % 4)))));
  expect(readdirSync(join(root, "a/b/c")).toSorted()).toEqual(["0", "1", "2", "3"]);
  symlinkSync(join(root, "a"), join(root, "link"));
  await makeFolder(join(root, "link"));
  await makeFolder(join(root, "link/b/d"));
  expect(existsSync(join(root, "a/b/d"))).toBe(true);
});

it("says what keeps it from it", async ({ skip }) => {
  const root = temporaryFolder();
  writeFileSync(join(root, "file"), "");
  await expect(makeFolder(join(root, "file"))).rejects.toMatchObject({ code: "EEXIST" });
  await expect(makeFolder(join(root, "file/below"))).rejects.toMatchObject({ code: "ENOTDIR" });
  const mount = mountTmpfs(1 << 20, skip);
  mkdirSync(join(mount, "there"));
  remountReadOnly(mount);
  await makeFolder(join(mount, "there"));
  await expect(makeFolder(join(mount, "there/a/b"))).rejects.toMatchObject({ code: "EROFS" });
});
