import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { checkVolume } from "../../../src/cli/doctor/volume.ts";
import { mountTmpfs, remountReadOnly } from "../../store/mount.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";

const check = (modelCacheDir: string) => checkVolume({ modelCacheDir });

it("tries files, links, renames and a lease, and leaves nothing behind", async () => {
  const folder = temporaryFolder();
  const [volume, lease, space] = await check(folder);
  expect(volume).toMatchObject({
    name: "volume",
    result: "ok",
    found: expect.stringMatching(/ has symbolic links, belongs to \d+:\d+$/),
  });
  expect(lease).toMatchObject({
    name: "lease",
    result: "ok",
    found: expect.stringMatching(/^can be had by one at a time, in \d+ ms$/),
  });
  expect(space?.name).toBe("space");
  expect(readdirSync(folder)).toEqual([]);
});

it("tells of a read-only volume, of a full one, and of one on which no more files can be made", async ({ skip }) => {
  const folder = mountTmpfs(1 << 20, skip);
  writeFileSync(join(folder, "large"), Buffer.alloc((1 << 20) - 4096));
  const full = await check(folder);
  expect(full).toContainEqual(
    expect.objectContaining({ name: "space", result: "warn", hint: expect.stringContaining("muster prune") }),
  );
  remountReadOnly(folder);
  expect((await check(folder))[0]).toMatchObject({
    name: "volume",
    result: "warn",
    found: expect.stringContaining("read-only"),
  });
  expect((await check("/no-such-folder"))[0]).toMatchObject({
    result: "fail",
    found: "/no-such-folder does not exist",
  });

  const few = mountTmpfs(1 << 20, skip, "nr_inodes=5");
  const checks = await check(few);
  expect(checks.find(({ name }) => name === "lease")).toMatchObject({
    result: "fail",
    found: expect.stringContaining("cannot be had"),
  });
  for (const name of ["1", "2", "3", "4"]) writeFileSync(join(few, name), "");
  expect(await check(few)).toContainEqual(
    expect.objectContaining({ name: "space", found: expect.stringMatching(/^only 0 of 5 files can still be made/) }),
  );
});
