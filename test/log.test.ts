import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import type { LogOptions } from "../src/log.ts";
import { temporaryFolder } from "./store/temporary-folder.ts";

const fixture = join(import.meta.dirname, "fixtures", "log-process.ts");

/** What a process with such a logger writes. */
async function logged(options: Partial<LogOptions>) {
  const all: LogOptions = { level: "info", format: "text", fd: 1, file: null, ...options };
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [fixture, JSON.stringify(all)]);
  return { stdout, stderr, lines: stdout.split("\n") };
}

const TIME = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;

it("text: time, level, message, fields, and the stack of an error with its cause", async () => {
  const { stdout, lines } = await logged({});
  expect(lines[0]).toMatch(new RegExp(`^${TIME} INFO  Downloading model=acme/tiny bytes=91234567 deep={"a":1}$`));
  expect(lines[1]).toMatch(
    new RegExp(`^${TIME} WARN  token \\[redacted\\] \\[redacted\\] url=https://\\[redacted\\]@host$`),
  );
  expect(lines[2]).toMatch(new RegExp(`^${TIME} ERROR Failed$`));
  expect(lines[3]).toMatch(/^MusterError: nothing came/);
  expect(stdout).toMatch("caused by: Error: below [redacted]");
});

it("json: a line is an object", async () => {
  const { lines } = await logged({ format: "json" });
  const [first, second, third] = lines.slice(0, 3).map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(first).toEqual({
    level: "info",
    time: expect.stringMatching(TIME),
    msg: "Downloading",
    model: "acme/tiny",
    bytes: 91_234_567,
    deep: { a: 1 },
  });
  expect(second).toMatchObject({ level: "warn", msg: "token [redacted] [redacted]", url: "https://[redacted]@host" });
  expect(third).toMatchObject({ level: "error", err: { code: "STALLED", hint: "wait" } });
});

it.each(["text", "json"] as const)("%s: no secret comes out, and no number is spoiled", async (format) => {
  const path = join(temporaryFolder(), "log");
  const { stdout, stderr } = await logged({ format, level: "debug", file: { path, required: true } });
  const written = stdout + stderr + readFileSync(path, "utf8");
  expect(written).toContain("91234567");
  expect(written).not.toMatch(/s3cr3t|\b1234\b/);
});

it.each<[LogOptions["level"], string[]]>([
  ["debug", ["debug line", "Downloading", "token", "Failed"]],
  ["warn", ["token", "Failed"]],
  ["silent", []],
])("level %s", async (level, messages) => {
  const { lines } = await logged({ level, format: "json" });
  const seen = lines.filter((line) => line.startsWith("{")).map((line) => (JSON.parse(line) as { msg: string }).msg);
  expect(seen.map((message) => messages.find((each) => message.startsWith(each)))).toEqual(messages);
});

it("fd 2 leaves standard output to data", async () => {
  const { stdout, stderr } = await logged({ fd: 2 });
  expect(stdout).toBe("alive\n");
  expect(stderr).toMatch("Downloading");
});

describe("LOG_FILE", () => {
  it("gets every line as well, after what it held", async () => {
    const path = join(temporaryFolder(), "log");
    const file = { path, required: true };
    const first = await logged({ file });
    const second = await logged({ file });
    expect(readFileSync(path, "utf8")).toBe(`${first.stdout}${second.stdout}`.replaceAll("alive\n", ""));
  });

  const absent = "/nowhere/at/all.log";
  it("that cannot be written is said once, where it was asked for", async () => {
    const { lines } = await logged({ file: { path: absent, required: true } });
    expect(lines.filter((line) => line.includes(absent))).toEqual([
      expect.stringMatching(`WARN  LOG_FILE ${absent} cannot be written \\(ENOENT\\); logging to the console only$`),
    ]);
    expect(lines[1]).toMatch("Downloading");
    expect((await logged({ file: { path: absent, required: false } })).stdout).not.toMatch(absent);
  });

  it.runIf(process.platform === "linux")("on a full disk loses lines, and ends nothing", async () => {
    const { lines } = await logged({ file: { path: "/dev/full", required: true } });
    expect(lines.at(-2)).toBe("alive");
    expect(lines[0]).toMatch("Downloading");
  });
});
