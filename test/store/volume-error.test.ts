import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { type ErrorData, MusterError } from "../../src/errors.ts";
import { volumeError } from "../../src/store/volume-error.ts";
import { mountTmpfs, remountReadOnly } from "./mount.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const isRoot = process.getuid?.() === 0;

/** What a process is told that tries to write there; root, who may do anything, can go as somebody else. */
function tryToWrite(path: string, ...ids: number[]): ErrorData | null {
  const fixture = fileURLToPath(new URL("./fixtures/write-process.ts", import.meta.url));
  const output = execFileSync(process.execPath, [fixture, path, ...ids.map(String)], { encoding: "utf8" });
  return JSON.parse(output) as ErrorData | null;
}

it("says who may not write, and the chown that helps", () => {
  const folder = join(temporaryFolder(), "models");
  mkdirSync(folder);
  chmodSync(folder, 0o555);
  // The folder above is private to this user.
  chmodSync(join(folder, ".."), 0o755);
  const error = isRoot ? tryToWrite(join(folder, "file"), 12345, 23456) : tryToWrite(join(folder, "file"));
  const id = isRoot ? "12345:23456" : `${process.getuid!()}:${process.getgid!()}`;
  expect(error).toMatchObject({ code: "VOLUME_NOT_WRITABLE" });
  expect(error!.message).toBe(`No permission to write ${join(folder, "file")} as ${id}.`);
  expect(error!.hint).toContain(`chown -R ${id} `);
  expect(readdirSync(folder)).toEqual([]);
});

it("says that a mount is read-only", ({ skip }) => {
  const folder = mountTmpfs(1 << 20, skip);
  expect(tryToWrite(join(folder, "file"))).toBeNull();
  remountReadOnly(folder);
  expect(tryToWrite(join(folder, "file"))).toMatchObject({
    code: "VOLUME_READ_ONLY",
    message: `${join(folder, "file")} is on a read-only mount, and something is missing there.`,
    hint: expect.stringContaining("writable"),
  });
});

it("says that the disk is full, and leaves no half-written file", ({ skip }) => {
  const folder = mountTmpfs(4096, skip);
  execFileSync("sh", ["-c", 'cat /dev/zero > "$0/filler" 2>&1; true', folder]);
  expect(tryToWrite(join(folder, "file"))).toMatchObject({
    code: "DISK_FULL",
    hint: expect.stringContaining("muster sync"),
  });
  expect(readdirSync(folder)).toEqual(["filler"]);
});

it("tells a disk that fails from one that allows no file as large", () => {
  const broken = Object.assign(new Error("EIO: i/o error, fsync"), { code: "EIO" });
  expect(volumeError(broken, "/models")).toMatchObject({
    code: "VOLUME_NOT_WRITABLE",
    message: "The disk under /models fails: EIO: i/o error, fsync.",
    hint: expect.stringContaining("dmesg"),
  });
  const large = Object.assign(new Error("EFBIG: file too large, write"), { code: "EFBIG" });
  expect(volumeError(large, "/models")).toMatchObject({
    code: "VOLUME_NOT_WRITABLE",
    hint: expect.stringContaining("ulimit -f"),
  });
});

it("says that a folder is none", () => {
  const folder = join(temporaryFolder(), "models");
  writeFileSync(folder, "");
  expect(tryToWrite(join(folder, "sub", "file"))).toMatchObject({
    code: "VOLUME_NOT_WRITABLE",
    message: `${join(folder, "sub", "file")} is no folder, or leads through a file.`,
    hint: expect.stringContaining("MODEL_CACHE_DIR"),
  });
});

it("keeps the cause, and leaves every other error as it is", () => {
  const denied = Object.assign(new Error("EPERM: no"), { code: "EPERM" });
  const error = volumeError(denied, "/models");
  expect(error).toBeInstanceOf(MusterError);
  expect(error).toMatchObject({ code: "VOLUME_NOT_WRITABLE", cause: denied });
  const full = volumeError(Object.assign(new Error("EDQUOT"), { code: "EDQUOT" }), "/models");
  expect(full).toMatchObject({ code: "DISK_FULL" });
  for (const other of [Object.assign(new Error("EMFILE"), { code: "EMFILE" }), error, "text", undefined]) {
    expect(volumeError(other, "/models")).toBe(other);
  }
});
