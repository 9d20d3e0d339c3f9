import { existsSync } from "node:fs";
import { describe, test } from "vitest";
import { VERSION } from "../../src/system.ts";
import { type Env, LAUNCHER, place, runMuster } from "../e2e/muster.ts";
import { MINILM, startMiniLmHub } from "../e2e/services.ts";
import { startHub } from "../fakes/hub/hub.ts";
import { sentenceTransformerRepo } from "../fakes/tiny-models.ts";

const COMMANDS = ["start", "sync", "plan", "status", "list", "health", "doctor", "coordinator", "run", "jobs"];
const ALL = [...COMMANDS, "pause", "resume", "drain", "run chat", "run embed", "run ocr"];

describe.concurrent("help and version", () => {
  test("--help names every command, the exit codes and where the settings are", async ({ expect }) => {
    const { code, stdout, stderr } = await runMuster(["--help"], {});
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^ {2}${command} `, "m"));
    expect(stdout).toContain("docs/configuration.md");
    expect(stdout).toContain("Exit codes: 0 done, 1 failed, 64 wrong usage, 75 try again, 78 configuration");
    expect((await runMuster(["help"], {})).stdout).toBe(stdout);
  });

  test("of each command", async ({ expect }) => {
    const helps = await Promise.all(ALL.map((command) => runMuster([...command.split(" "), "--help"], {})));
    for (const [index, { code, stdout, stderr }] of helps.entries()) {
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toMatch(new RegExp(`^Usage: muster ${ALL[index]} .*\n\n\\S.+\n`));
    }
    expect(helps.filter(({ stdout }) => !/--json/.test(stdout))).toEqual([]);
  });

  test("with an example, of every command that --help tells of", async ({ expect }) => {
    const named = (help: string) =>
      help
        .split("\n\n")
        .filter((section) => /^(?!Options|Global|Arguments|Example)[A-Z][a-z ]+:\n {2}/.test(section))
        .flatMap((section) => [...section.matchAll(/^ {2}([a-z-]+) /gm)].map(([, name = ""]) => name))
        .filter((name) => name !== "help");
    const helpOf = async (...path: string[]) => (await runMuster([...path, "--help"], {})).stdout;
    const commands = named(await helpOf());
    expect(commands.length).toBeGreaterThan(20);
    const groups = ["run", "catalog"];
    const within = groups.map(async (group) => named(await helpOf(group)).map((name) => [group, name]));
    const below = (await Promise.all(within)).flat();
    const all = await Promise.all(
      [...commands.map((name) => [name]), ...below].map(async (path) => ({ path, help: await helpOf(...path) })),
    );
    const without = all.filter(({ path, help }) => {
      const [, examples = ""] = help.split(/^Examples?:$/m);
      return !examples.includes(`muster ${path.join(" ")}`);
    });
    expect(without.map(({ path }) => path.join(" "))).toEqual([]);
  });

  test("start --json logs a JSON line an event", async ({ expect }) => {
    const { code, stdout } = await runMuster(["start", "--json"], { LOG_FORMAT: "text" });
    expect(code).toBe(78);
    expect(
      stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line)),
    ).toEqual([expect.objectContaining({ level: "fatal", code: "WORKER_TYPE_MISSING", time: expect.any(String) })]);
  });

  test("--version", async ({ expect }) => {
    for (const flag of ["--version", "-V"]) {
      expect(await runMuster([flag], {})).toMatchObject({ code: 0, stdout: `${VERSION}\n`, stderr: "" });
    }
  });
});

describe.concurrent("wrong usage ends with 64 and says why", () => {
  test.for<[string[], string]>([
    [["nonsense"], "error: unknown command 'nonsense'"],
    [["--nonsense"], "error: unknown option '--nonsense'"],
    [["sync", "--nonsense"], "error: unknown option '--nonsense'"],
    [["status", "surplus"], "error: too many arguments for 'status'. Expected 0 arguments but got 1"],
    [["coordinator", "--listen"], "error: option '--listen <host:port>' argument missing"],
    [["coordinator", "--listen", "nowhere:99999"], 'USAGE: --listen is "nowhere:99999"; allowed: HOST:PORT or PORT.'],
    [["run"], "Usage: muster run [options] [command]"],
    [["run", "nonsense"], "error: unknown command 'nonsense'"],
    [["run", "ocr"], "error: missing required argument 'files'"],
    [["run", "ocr", "no-such-file.png"], "USAGE: no-such-file.png cannot be read (ENOENT)"],
    [["run", "chat", "--timeout", "never", "Hi"], "Allowed: a number above 0."],
    [["help", "nonsense"], "Usage: muster [options] [command]"],
    [[], "Usage: muster [options] [command]"],
  ])("%j", async ([args, said], { expect }) => {
    const { code, stdout, stderr } = await runMuster(args, { LOG_FILE: "none" });
    expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
    expect(stderr).toContain(said);
  });
});

describe.concurrent("with --json wrong usage is JSON, like every other error", () => {
  test.for<[string, string, string]>([
    ["list --json --sort bad", "option '--sort <order>' argument 'bad' is invalid", "muster list"],
    ["show --json", "missing required argument 'model'", "muster show"],
    ["list --nonsense --json", "unknown option '--nonsense'", "muster list"],
    ["run chat --json --timeout never Hi", "Allowed: a number above 0.", "muster run chat"],
    ["catalog nonsense --json", "unknown command 'nonsense'", "muster catalog"],
    ["run --json", "unknown option '--json'", "muster run"],
    ["nonsense --json", "unknown command 'nonsense'", "muster"],
  ])("%s", async ([line, said, command], { expect }) => {
    const { code, stdout, stderr } = await runMuster(line.split(" "), { LOG_FILE: "none" });
    expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
    const { error } = JSON.parse(stderr) as { error: { code: string; message: string; hint: string } };
    expect(error).toMatchObject({ code: "USAGE", hint: `\`${command} --help\` shows how it is used.` });
    expect(error.message).toContain(said);
  });

  test("but for help, and for an engine's own option", async ({ expect }) => {
    expect((await runMuster(["list", "--json", "--help"], {})).stdout).toMatch(/^Usage: muster list /);
    const { code, stderr } = await runMuster(["start", "--nonsense", "--", "engine", "--json"], {});
    expect({ code, stderr }).toEqual({ code: 64, stderr: "error: unknown option '--nonsense'\n" });
  });
});

describe.concurrent("output that nobody reads", () => {
  // `true` is gone before the first line comes.
  const unread = (args: string, env: Env) =>
    runMuster(["-c", `{ "${LAUNCHER}" ${args} 2>&1; echo "exit code $?" >&3; } 3>&2 | true`], env, { command: ["sh"] });

  test("leaves no work undone", async ({ expect }) => {
    await using hub = await startMiniLmHub();
    using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url });
    expect((await unread("sync", here.env)).stderr).toBe("exit code 0\n");
    expect(JSON.parse((await runMuster(["list", "--json"], here.env)).stdout).models).toHaveLength(1);
    expect((await unread("list", here.env)).stderr).toBe("exit code 0\n");
    expect((await unread("--help", here.env)).stderr).toBe("exit code 0\n");
  });

  test("changes no exit code", async ({ expect }) => {
    const files = sentenceTransformerRepo(MINILM);
    await using hub = await startHub({ repos: [{ id: MINILM, files, gated: "auto" }] });
    using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url });
    expect((await unread("sync", here.env)).stderr).toBe("exit code 78\n");
    expect((await unread("sync --json no-such-model", here.env)).stderr).toBe("exit code 64\n");
  });
});

describe.skipIf(!existsSync("/dev/full")).concurrent("output that a full disk does not take", () => {
  const intoFull = (args: string, env: Env, streams = ">/dev/full") =>
    runMuster(["-c", `"${LAUNCHER}" ${args} ${streams}`], env, { command: ["sh"] });
  const said = {
    code: 1,
    stderr: "error: standard output cannot be written: ENOSPC: no space left on device, write\n",
  };

  test("is told in one line, and the work is done", async ({ expect }) => {
    await using hub = await startMiniLmHub();
    using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url });
    expect(await intoFull("list", here.env)).toMatchObject(said);
    // It says before that an optional model is not to be had.
    const { code, stderr } = await intoFull("sync", here.env);
    expect({ code, last: stderr.split("\n").slice(-2).join("\n") }).toEqual({ code: 1, last: said.stderr });
    expect(JSON.parse((await runMuster(["list", "--json"], here.env)).stdout).models).toHaveLength(1);
    expect(await intoFull("list", here.env, ">/dev/full 2>&1")).toMatchObject({ code: 1, stdout: "", stderr: "" });
  });

  test("keeps the exit code of what failed", async ({ expect }) => {
    using here = place({ WORKER_TYPES_FILE: "/nowhere" });
    expect(await intoFull("plan", here.env, "2>/dev/full")).toMatchObject({ code: 78 });
  });
});
