import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { errorCodes } from "../src/errors.ts";

const root = join(import.meta.dirname, "..");

describe("docs/errors.md", () => {
  const text = readFileSync(join(root, "docs/errors.md"), "utf8");
  const sections = text.split(/^## /m).slice(1);
  const bodyOf = (code: string) => sections.find((section) => section.startsWith(`${code}\n`)) ?? "";

  it("has a section for each code, and no other", () => {
    expect(sections.map((section) => section.split("\n", 1)[0])).toEqual(Object.keys(errorCodes));
  });

  it.each(Object.entries(errorCodes))("%s: exit code, what happened, why, and what to do", (code, facts) => {
    const { exit, retryable } = facts;
    const body = bodyOf(code);
    expect(body).toContain(
      `\n\nExit code ${exit}. ${retryable ? "May pass by itself." : "Stays until something is changed."}\n\n`,
    );
    expect(body).toMatch(/\*\*What happened\.\*\* .+\*\*Why\.\*\* .+\*\*What to do\.\*\* [^`]*`[^`]+`/s);
  });
});

it("README, configuration and schemas are up to date with the sources", async () => {
  const generate = promisify(execFile)(process.execPath, [join(root, "scripts/generate.ts"), "--check"]);
  await expect(
    generate.then(
      () => "up to date",
      ({ stderr }: { stderr: string }) => stderr,
    ),
  ).resolves.toBe("up to date");
});
