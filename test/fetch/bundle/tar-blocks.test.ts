import { execFileSync } from "node:child_process";
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { streamReader } from "../../../src/fetch/bundle/byte-reader.ts";
import { BLOCK, END, entryHeader, padding, parseHead, parsePax } from "../../../src/fetch/bundle/tar-blocks.ts";
import { TarReader } from "../../../src/fetch/bundle/tar-reader.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";

const GIB = 2 ** 30;
const mtime = new Date("2026-11-21T18:00:00Z");
const names = fc
  .array(fc.stringMatching(/^[a-zA-Zäß0-9_-]{1,90}$/), { minLength: 1, maxLength: 5 })
  .map((parts) => parts.join("/"));
const sizes = fc.oneof(
  fc.nat(),
  fc.constantFrom(0, 511, 512, 8 * GIB - 1, 8 * GIB, 8 * GIB + 1),
  fc.integer({ min: 0, max: 2 ** 50 }),
);

describe("headers", () => {
  it("say name and size of any length, and nothing else when any byte of the block is another", () => {
    fc.assert(
      fc.property(names, sizes, fc.nat(BLOCK - 1), fc.integer({ min: 1, max: 255 }), (name, size, at, change) => {
        const header = entryHeader({ name, size, mtime });
        expect(header.length % BLOCK).toBe(0);
        const last = header.subarray(-BLOCK);
        const pax =
          header.length > BLOCK
            ? parsePax(header.subarray(BLOCK, -BLOCK).filter((byte) => byte !== 0) as Buffer)
            : null;
        expect(parseHead(last, pax)).toEqual({ type: "File", name, size });
        const damaged = Buffer.from(last);
        damaged[at]! ^= change;
        // A change within the checksum's own blanks says the same.
        const seen = parseHead(damaged, pax);
        if (at < 148 || at >= 156) expect(seen).toBeNull();
        else expect([null, JSON.stringify({ type: "File", name, size })]).toContain(seen && JSON.stringify(seen));
      }),
    );
  });

  it("are those of a tar that GNU tar reads, from 8 GiB on and with long names too", () => {
    const path = join(temporaryFolder(), "large.tar");
    const entries = [
      { name: "blobs/first", size: 9 * GIB + 7 },
      { name: `${"folder/".repeat(30)}${"n".repeat(120)}`, size: 3 },
      { name: "blobs/last", size: 8 * GIB },
    ];
    const file = openSync(path, "w");
    let position = 0;
    for (const { name, size } of entries) {
      const header = entryHeader({ name, size, mtime });
      writeSync(file, header, 0, header.length, position);
      position += header.length + size + padding(size);
    }
    // Of holes: nothing of these sizes is ever written or read.
    ftruncateSync(file, position + END.length);
    closeSync(file);
    const listed = execFileSync("tar", ["-tvf", path], { encoding: "utf8" }).trim().split("\n");
    expect(
      listed.map((line) => line.split(/ +/)).map(([, , size, , , name]) => ({ name, size: Number(size) })),
    ).toEqual(entries);
  });
});

it("what GNU tar writes is read, in each of its formats, whatever pieces it comes in", async () => {
  const folder = temporaryFolder();
  execFileSync(
    "sh",
    ["-c", 'mkdir blobs; printf abc > blobs/one; printf "" > blobs/two; head -c 5000 /dev/zero > blobs/three'],
    { cwd: folder },
  );
  for (const format of ["ustar", "pax", "gnu", "oldgnu"]) {
    const tar = execFileSync("tar", [`--format=${format}`, "-c", "./blobs"], { cwd: folder });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 3000 }), async (length) => {
        async function* pieces() {
          for (let at = 0; at < tar.length; at += length) yield tar.subarray(at, at + length);
        }
        await using reader = streamReader("a test", pieces());
        const entries = new TarReader(reader);
        const seen = [];
        for (let entry = await entries.entry(); entry; entry = await entries.entry())
          seen.push(`${entry.name} ${entry.size}`);
        expect(seen.toSorted()).toEqual(["blobs/one 3", "blobs/three 5000", "blobs/two 0"]);
      }),
      { numRuns: 10 },
    );
  }
});
