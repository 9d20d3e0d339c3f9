import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openRememberedModels } from "../src/remembered-models.ts";
import { keptLog } from "./register/worker.ts";
import { temporaryFolder } from "./store/temporary-folder.ts";

const FILE = "run-time-models.json";

test("what was asked for and removed is there for the next process", async () => {
  const folder = temporaryFolder();
  const { log, lines } = keptLog();
  const first = await openRememberedModels(folder, log);
  await Promise.all([
    first.remember({ reference: "hf:a/b", options: { task: "embedding" } }),
    first.remember({ reference: "tiny", options: {} }),
    first.remember({ reference: "hf:a/b", options: { context: 4096 } }),
    first.setRemoved("small", true),
    first.setRemoved("large", true),
    first.forget("tiny"),
    first.setRemoved("large", false),
  ]);
  const next = await openRememberedModels(folder, log);
  expect(next.asked).toEqual([{ reference: "hf:a/b", options: { context: 4096 } }]);
  expect(next.removed).toEqual(["small"]);
  expect(readdirSync(folder)).toEqual([FILE]);
  expect(lines).toEqual([]);
});

test.each(["", "{", '{"formatVersion":2}', '{"formatVersion":1,"asked":[{"reference":5}],"removed":[]}'])(
  "a damaged file (%s) is put aside",
  async (text) => {
    const folder = temporaryFolder();
    const { log, lines } = keptLog();
    writeFileSync(join(folder, FILE), text);
    const remembered = await openRememberedModels(folder, log);
    expect([remembered.asked, remembered.removed]).toEqual([[], []]);
    expect(readFileSync(join(folder, `${FILE}.damaged`), "utf8")).toBe(text);
    expect(lines).toMatchObject([{ msg: expect.stringContaining("is damaged and was put aside as") }]);
    await remembered.remember({ reference: "tiny", options: {} });
    expect((await openRememberedModels(folder, log)).asked).toHaveLength(1);
  },
);

test("a folder that cannot be written costs a warning, and a process without one keeps all in memory", async () => {
  const { log, lines } = keptLog();
  const file = join(temporaryFolder(), "file");
  writeFileSync(file, "");
  for (const folder of [file, null]) {
    const remembered = await openRememberedModels(folder, log);
    await remembered.remember({ reference: "tiny", options: {} });
    expect(remembered.asked).toHaveLength(1);
  }
  expect(lines.map(({ msg }) => msg)).toEqual([
    expect.stringContaining("cannot be read"),
    expect.stringContaining("cannot be written"),
  ]);
});
