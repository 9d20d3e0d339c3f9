import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import manifest from "../package.json" with { type: "json" };
import { errorCodes } from "../src/errors.ts";
import { settings } from "../src/settings/settings.ts";

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

describe("what the documents tell people to run", async () => {
  const run = promisify(execFile);
  const muster = join(root, "scripts/muster");
  const { stdout: help } = await run(muster, ["--help"]);
  const commands = new Set([...help.matchAll(/^ {2}([a-z-]+) /gm)].map(([, name]) => name));
  // Of the platform, and honoured: see docs/configuration.md.
  const ofThePlatform = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "NODE_EXTRA_CA_CERTS"];
  const variables = new Set([...Object.keys(settings.shape), ...ofThePlatform]);

  it.each([
    "README.md",
    "docs/errors.md",
    "docs/model-flow.md",
    "docs/job-flow.md",
    "docs/coordinator.md",
    "docs/volume.md",
    "docs/catalog.md",
    "docs/metrics.md",
    "docs/engines.md",
    "docs/operations.md",
    "docs/images.md",
    "CONTRIBUTING.md",
  ])("%s", async (file) => {
    const text = readFileSync(join(root, file), "utf8");
    const told = [...text.matchAll(/(?:^|[`\s/])muster ([a-z][a-z-]*)(?: (--[a-z]+))?/gm)].filter(([line]) =>
      /[`/]/.test(line),
    );
    for (const [, command = "", option] of told) {
      expect(commands, `muster ${command}`).toContain(command);
      if (option) expect((await run(muster, [command, "--help"])).stdout).toContain(option);
    }
    for (const [, script = ""] of text.matchAll(/`(?:\.\/)?(scripts\/[\w-]+(?:\.sh)?)/g)) {
      expect(existsSync(join(root, script)), script).toBe(true);
    }
    for (const [, name = ""] of text.matchAll(/npm run (\w+)/g)) expect(manifest.scripts).toHaveProperty(name);
    for (const [, name = ""] of text.matchAll(/(?:export |-e |^)([A-Z][A-Z0-9_]{4,})=/gm))
      expect(variables).toContain(name);
    for (const [, link = ""] of text.matchAll(/\]\(([\w./-]+)\)/g)) {
      expect(existsSync(join(root, file, "..", link)), link).toBe(true);
    }
  });
});
