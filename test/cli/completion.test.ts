import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { type Env, LAUNCHER, type Place, place, runMuster } from "../e2e/muster.ts";
import { until } from "../until.ts";

/** Each shell is the real one. */

let here: Place;
let env: Env;
beforeAll(() => {
  here = place();
  const bin = join(here.folder, "bin");
  mkdirSync(bin);
  symlinkSync(LAUNCHER, join(bin, "muster"));
  const records = join(here.volume, ".muster/models");
  mkdirSync(records, { recursive: true });
  const record = {
    ...{
      formatVersion: 1,
      key: "k",
      source: "huggingface",
      location: "acme/tiny",
      requestedRevision: "main",
      revision: "c0ffee".padEnd(40, "0"),
    },
    ...{ path: here.volume, files: [], manifest: null, bytes: 0, license: null, quantization: null },
    storedAt: "2026-01-01T00:00:00Z",
  };
  writeFileSync(join(records, "k.json"), JSON.stringify(record));
  env = { ...process.env, ...here.env, PATH: `${bin}:${process.env.PATH}`, HOME: here.folder };
  return () => here[Symbol.dispose]();
});

const has = (shell: string) => spawnSync(shell, ["--version"]).status === 0;
const missing = (shell: string) => (has(shell) ? "" : ` (skipped: there is no ${shell} on this machine)`);

/** What a terminal is told about colours and the cursor. */
const ESCAPES = new RegExp(`${String.fromCharCode(27)}\\[[\\d;?]*[A-Za-z]`, "g");

/** Of a command line that ends where the cursor stands: what must be among the suggestions, and what must not. */
const CASES: [line: string, wanted: string[], unwanted: string[]][] = [
  ["muster li", ["list"], ["start"]],
  ["muster ", ["start", "verify", "completion", "run"], ["chat"]],
  ["muster verify --wr", ["--write-checksums"], ["--rate"]],
  ["muster list --sort ", ["name", "size", "used", "fetched", "source"], []],
  ["muster run ", ["chat", "embed", "ocr"], ["start"]],
  ["muster run chat --im", ["--image"], ["--schema"]],
  ["muster remove ac", ["acme/tiny"], []],
  ["muster remove --yes ac", ["acme/tiny"], []],
  ["muster sync embe", ["embedding"], ["acme/tiny"]],
  ["muster completion f", ["fish"], ["bash"]],
];

function expectAmong(found: string[], wanted: string[], unwanted: string[]) {
  expect(found).toEqual(expect.arrayContaining(wanted));
  expect(found.filter((word) => unwanted.includes(word))).toEqual([]);
}

describe(`bash${missing("bash")}`, () => {
  it.skipIf(!has("bash")).each(CASES)("%j", (line, wanted, unwanted) => {
    const script = `source <(muster completion bash) || exit 1
read -ra COMP_WORDS <<< "$1"; [[ $1 == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _muster; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = spawnSync("bash", ["-c", script, "bash", line], { env, encoding: "utf8" });
    expect(stderr).toBe("");
    expectAmong(stdout.trim().split("\n"), wanted, unwanted);
  });

  it.skipIf(!has("bash"))("completes files where files are wanted", () => {
    writeFileSync(join(here.folder, "scan-1.png"), "");
    const script = `source <(muster completion bash); COMP_WORDS=(muster run ocr sca); COMP_CWORD=3; _muster; echo "\${COMPREPLY[@]}"`;
    const { stdout } = spawnSync("bash", ["-c", script], { env, encoding: "utf8", cwd: here.folder });
    expect(stdout).toBe("scan-1.png\n");
  });
});

describe(`fish${missing("fish")}`, () => {
  it.skipIf(!has("fish")).each(CASES)("%j", (line, wanted, unwanted) => {
    const script = `muster completion fish | source; complete -C"$argv[1]"`;
    const { stdout, stderr } = spawnSync("fish", ["--no-config", "-c", script, line], { env, encoding: "utf8" });
    expect(stderr).toBe("");
    const found = stdout.split("\n").map((each) => each.split("\t")[0] ?? "");
    expectAmong(found, wanted, unwanted);
  });
});

describe(`zsh${missing("zsh")}`, () => {
  // What it completes has no command of its own: an interactive shell shows it.
  it.skipIf(!has("zsh")).each(CASES)(
    "%j",
    async (line, wanted, unwanted) => {
      const shell = spawn("script", ["-qec", "zsh -f -i", "/dev/null"], {
        env: { ...env, TERM: "dumb", PS1: "", COLUMNS: "200", LINES: "100" },
        stdio: ["pipe", "pipe", "inherit"],
      });
      onTestFinished(async () => {
        shell.kill("SIGKILL");
        await once(shell, "close");
      });
      let text = "";
      shell.stdout.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
      });
      // Every match is listed at once, a line each, and the line stays as it is.
      const set = "setopt no_beep; unsetopt zle; autoload -U compinit; compinit -u -D; source <(muster completion zsh)";
      const list =
        "zstyle ':completion:*' list-prompt ''; zstyle ':completion:*' menu no; LISTMAX=0; setopt list_rows_first; bindkey '^X' list-choices";
      shell.stdin.write(`stty cols 40 rows 500; ${set}; setopt zle; ${list}; PROMPT=; echo rea''dy\n`);
      await until("zsh is ready", () => text.includes("ready\r\n"), 30_000);
      text = "";
      shell.stdin.write(`${line}\u0018`);
      const words = () =>
        text
          .replaceAll(ESCAPES, "\n")
          .split(/[\s\r\n]+/)
          .filter((word) => word !== "");
      await until(`it lists ${wanted}`, () => wanted.every((word) => words().includes(word)), 30_000);
      expectAmong(words(), wanted, unwanted);
    },
    70_000,
  );
});

it("is refused for other shells", async () => {
  expect(await runMuster(["completion", "tcsh"], {})).toMatchObject({ code: 64 });
});
