import { statSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "vitest";
import { place, runMuster } from "../e2e/muster.ts";
import { MINILM, startMiniLmHub } from "../e2e/services.ts";
import { canBeSomebody } from "../e2e/somebody.ts";

const command = [resolve(import.meta.dirname, "../../scripts/manage-ai-models.sh")];

test("sets a host's folder up, fills it, and tells what is there", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  using here = place();
  const folder = join(here.folder, "opt", "ai-models");
  const own = `${process.getuid?.()}:${process.getgid?.()}`;
  const env = {
    ...here.env,
    MODEL_CACHE_DIR: undefined,
    MODELS_DIR: folder,
    HF_ENDPOINT: hub.url,
    OWNER: canBeSomebody ? undefined : own,
  };
  const manage = (...args: string[]) => runMuster(args, env, { command });

  expect(await manage("setup")).toMatchObject({ code: 0, stderr: "" });
  expect(`${statSync(folder).uid}`).toBe(canBeSomebody ? "1000" : own.split(":")[0]);
  const { code, stdout } = await manage("download", "all-minilm-l6-v2");
  expect(code).toBe(0);
  expect(stdout).toMatch(/1 of 1 models complete/);
  expect((await manage("list")).stdout).toContain(`huggingface:${MINILM}`);
  const status = await manage("status");
  expect(status).toMatchObject({ code: 0, stderr: "" });
  expect(status.stdout).toMatch(/1 models, .+\n.+ of models, .+ free\nFilesystem .+\n.+\nNo worker runs here/);
  expect(await manage("verify")).toMatchObject({ code: 0 });
  expect(await manage("cleanup", "--dry-run")).toMatchObject({ code: 0 });
  expect(await manage("remove", MINILM, "--yes")).toMatchObject({ code: 0 });
  expect((await manage("list")).stdout).not.toContain(MINILM);
  // What a command of muster says is passed on as it is.
  expect((await manage("download", "no-such-model")).code).toBe(64);
});

test("wrong usage", async ({ expect }) => {
  using here = place();
  for (const args of [[], ["download"], ["remove"], ["unknown"]]) {
    const { code, stderr } = await runMuster(args, here.env, { command });
    expect({ args, code }).toEqual({ args, code: 64 });
    expect(stderr).toContain("usage: manage-ai-models.sh");
  }
});
