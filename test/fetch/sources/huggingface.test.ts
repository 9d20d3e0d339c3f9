import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { MusterError } from "../../../src/errors.ts";
import { type AskOptions, ask as askOnce } from "../../../src/fetch/ask.ts";
import { HttpClient } from "../../../src/fetch/http-client.ts";
import { type HubEndpoint, resolveUrl, subjectOf } from "../../../src/fetch/sources/hub-api.ts";
import { describeRepo } from "../../../src/fetch/sources/huggingface.ts";
import { isSafePath } from "../../../src/fetch/sources/safe-path.ts";
import { registerSecret } from "../../../src/redact.ts";
import { type Hub, startHub } from "../../fakes/hub/hub.ts";
import { causalLmRepo } from "../../fakes/tiny-models.ts";

const files = causalLmRepo("acme/tiny");
const odd = { "a b/c#d?e%41.txt": "odd", "ü/日本.json": "{}", "empty.txt": "", "config.json": "{}" };
const TOKEN = "sekrit-of-a-mirror-1234";
registerSecret(TOKEN);

let hub: Hub;
let commit: string;
let client: HttpClient;
beforeAll(async () => {
  hub = await startHub({
    pageSize: 4,
    tokens: { [TOKEN]: { name: "bob", gatedAccess: ["acme/gated"] }, hf_otherotherother: { name: "eve" } },
    repos: [
      { id: "acme/odd", files: odd },
      { id: "acme/gated", files: odd, gated: "manual" },
      { id: "bob/private", files: odd, private: true },
      { id: "acme/off", files: odd, disabled: true },
      { id: "gpt2", files: odd },
    ],
  });
  const revisions = {
    "v1.0": { kind: "tag" as const },
    "refs/pr/1": { files: { "pr.txt": "pr" } },
    "feature/x": { files: { "x.txt": "x" } },
  };
  commit = hub.addRepo({ id: "acme/tiny", files, revisions }).commit;
});
beforeEach(() => {
  hub.reset();
  client = new HttpClient({ connections: 4, stallTimeoutMs: 5_000 });
});
afterEach(() => client[Symbol.asyncDispose]());
afterAll(() => hub.close());

const options = (change: Partial<HubEndpoint & AskOptions> = {}): HubEndpoint & AskOptions => ({
  endpoint: hub.url,
  token: null,
  client,
  retries: 3,
  ...change,
});
const ask = (repo: string, revision = "main", change: Partial<HubEndpoint & AskOptions> = {}) =>
  describeRepo(repo, revision, options(change), options(change));

const readRepoFile = async (repo: string, revision: string, path: string, given: HubEndpoint & AskOptions) => {
  const headers: Record<string, string> = given.token ? { authorization: `Bearer ${given.token}` } : {};
  const answer = await askOnce(
    resolveUrl(given.endpoint, repo, revision, path),
    subjectOf(repo, given),
    given,
    headers,
  );
  return answer.text;
};

/** The error, once it is certain that it says nothing secret. */
async function failure(work: Promise<unknown>): Promise<MusterError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(MusterError);
  expect(JSON.stringify(error) + (error as MusterError).stack).not.toContain(TOKEN);
  expect((error as MusterError).hint).not.toBe("");
  return error as MusterError;
}

/** A hub that answers as it is told. */
async function startServer(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("a repository", () => {
  it("is described with all its pages: paths, sizes and digests", async () => {
    const described = await ask("acme/tiny");
    expect(described.commit).toBe(commit);
    expect(described.files.map(({ path }) => path)).toEqual(Object.keys(files).sort());
    for (const { path, size, digest } of described.files) {
      expect(size).toBe(Buffer.byteLength(files[path] as string));
      expect(digest).toEqual(
        /\.(safetensors|model)$/.test(path)
          ? { algorithm: "sha256", hex: expect.stringMatching(/^[0-9a-f]{64}$/) }
          : { algorithm: "git-sha1", hex: expect.stringMatching(/^[0-9a-f]{40}$/) },
      );
    }
    // The commit, and four entries a page.
    expect(hub.requests.filter(({ path }) => path.includes("/tree/"))).toHaveLength(
      Math.ceil(described.files.length / 4),
    );
    expect(hub.requests.every(({ path }) => !path.includes("/tree/main"))).toBe(true);
  });

  it("may have one word for a name, and files with any", async () => {
    const described = await ask("gpt2");
    expect(described.files.map(({ path }) => path)).toEqual(Object.keys(odd).sort());
  });

  it("has revisions of every kind", async () => {
    for (const revision of ["main", "v1.0", commit.slice(0, 8)]) {
      expect((await ask("acme/tiny", revision)).commit).toBe(commit);
    }
    for (const [revision, path] of [
      ["refs/pr/1", "pr.txt"],
      ["feature/x", "x.txt"],
    ]) {
      expect((await ask("acme/tiny", revision)).files).toMatchObject([{ path }]);
    }
    hub.reset();
    expect((await ask("acme/tiny", commit)).commit).toBe(commit);
    expect(hub.requests.filter(({ path }) => path.includes("/revision/"))).toEqual([]);
  });

  it("gives the text of a file, whatever it is called", async () => {
    const { commit: revision } = await ask("acme/odd");
    for (const [path, text] of Object.entries(odd)) {
      expect(await readRepoFile("acme/odd", revision, path, options())).toBe(text);
    }
    expect(resolveUrl("https://hub", "a/b", "refs/pr/1", "x#y?/%41 ü")).toBe(
      "https://hub/a/b/resolve/refs%2Fpr%2F1/x%23y%3F/%2541%20%C3%BC",
    );
  });
});

describe("the token", () => {
  it("is sent to the hub, also one without the usual prefix, with every request", async () => {
    await ask("bob/private", "main", { token: TOKEN });
    expect(hub.requests.map(({ token }) => token)).toEqual(hub.requests.map(() => TOKEN));
  });

  it("is not sent where a page's link leads to another host: that page is asked of the hub", async () => {
    const strangers: string[] = [];
    const stranger = await startServer((req, res) => {
      strangers.push(`${req.url} ${req.headers.authorization}`);
      res.end("[]");
    });
    const asked: (string | undefined)[] = [];
    const entry = (path: string) => ({ type: "file", path, size: 1, oid: "0".repeat(40) });
    const mirror = await startServer((req, res) => {
      asked.push(req.headers.authorization);
      if (req.url?.includes("cursor")) return res.end(JSON.stringify([entry("second")]));
      res.setHeader("Link", `<${stranger}${req.url}&cursor=2>; rel="next"`).end(JSON.stringify([entry("first")]));
    });
    const described = await ask("acme/tiny", commit, { endpoint: mirror, token: TOKEN });
    expect(described.files.map(({ path }) => path)).toEqual(["first", "second"]);
    expect([strangers, asked]).toEqual([[], [`Bearer ${TOKEN}`, `Bearer ${TOKEN}`]]);
  });

  it("is not sent along a redirect to another host", async () => {
    const seen: (string | undefined)[] = [];
    const stranger = await startServer((req, res) => {
      seen.push(req.headers.authorization);
      res.end("[]");
    });
    const mirror = await startServer((req, res) => res.writeHead(307, { location: `${stranger}${req.url}` }).end());
    expect((await ask("acme/tiny", commit, { endpoint: mirror, token: TOKEN })).files).toEqual([]);
    expect(seen).toEqual([undefined]);
  });
});

describe("a hub in trouble", () => {
  it("that limits the rate is waited for as long as it says, and then asked again", async () => {
    Object.assign(hub.faults, { rateLimit: { times: 2, seconds: 1 } });
    const waits: { code: string; delay: number }[] = [];
    const described = await ask("acme/odd", "main", {
      onRetry: ({ code }, delay) => void waits.push({ code, delay }),
    });
    expect(described.files).toHaveLength(4);
    expect(waits.map(({ code }) => code)).toEqual(["RATE_LIMITED", "RATE_LIMITED"]);
    expect(Math.min(...waits.map(({ delay }) => delay))).toBeGreaterThanOrEqual(1000);
  });

  it("that limits the rate by a date is understood as well", async () => {
    const until = new Date(Date.now() + 3_600_000).toUTCString();
    Object.assign(hub.faults, { rateLimit: { host: "hub", retryAfter: until } });
    const error = await failure(ask("acme/odd", "main", { retries: 0 }));
    expect(error.code).toBe("RATE_LIMITED");
    expect(error.details.retryAfterMs).toBeGreaterThan(3_500_000);
    expect(error.details.retryAfterMs).toBeLessThanOrEqual(3_600_000);
    expect(error.hint).toContain("HF_TOKEN");
  });

  it("that fails is asked again, and named when it stays so", async () => {
    Object.assign(hub.faults, { serverError: { times: 2, status: 502 } });
    expect((await ask("acme/odd")).files).toHaveLength(4);
    Object.assign(hub.faults, { serverError: { status: 500 } });
    const error = await failure(ask("acme/odd", "main", { retries: 1 }));
    expect(error).toMatchObject({ code: "SERVER_ERROR", details: { status: 500 } });
    expect(error.message).toContain(new URL(hub.url).host);
  });

  it("that breaks off in the middle of its answer is asked again", async () => {
    let answers = 0;
    const mirror = await startServer((_req, res) => {
      res.writeHead(200, { "content-length": "2" });
      if (++answers === 1) return res.write("[", () => res.destroy());
      res.end("[]");
    });
    expect((await ask("acme/tiny", commit, { endpoint: mirror })).files).toEqual([]);
    expect(answers).toBe(2);
  });

  it("that goes silent is given up after the time allowed for silence", async () => {
    const impatient = new HttpClient({ connections: 1, stallTimeoutMs: 100 });
    onTestFinished(() => impatient[Symbol.asyncDispose]());
    Object.assign(hub.faults, { stallStart: true });
    const error = await failure(ask("acme/odd", "main", { client: impatient, retries: 0 }));
    expect(error).toMatchObject({ code: "STALLED", hint: expect.stringContaining("STALL_TIMEOUT") });
  });

  it("that is not there is named, with what may stand in between", async () => {
    const error = await failure(ask("acme/odd", "main", { endpoint: "http://127.0.0.1:1", retries: 0 }));
    expect(error).toMatchObject({ code: "HOST_UNREACHABLE", hint: expect.stringContaining("HTTPS_PROXY") });
    expect(error.message).toContain("127.0.0.1:1");
    const nameless = await failure(ask("acme/odd", "main", { endpoint: "http://no-such-host.invalid", retries: 0 }));
    expect(nameless.message).toContain("no-such-host.invalid");
  });

  it("that answers with something else is told from a hub", async () => {
    for (const body of ["<html>Please log in</html>", "null", "{}", "7", '[{"type":"file"}]', "[null]"]) {
      const page = await startServer((_req, res) => res.end(body));
      const error = await failure(ask("acme/odd", commit, { endpoint: page }));
      expect([body, error.code]).toEqual([body, "RESPONSE_INVALID"]);
      expect(error.hint).toContain("HF_ENDPOINT");
      expect((await failure(ask("acme/odd", "main", { endpoint: page }))).code).toBe("RESPONSE_INVALID");
    }
  });

  it("can be left by the signal", async () => {
    Object.assign(hub.faults, { stallStart: true });
    const stop = new AbortController();
    hub.onRequest = () => stop.abort();
    const asked = describeRepo("acme/odd", "main", options(), options({ signal: stop.signal }));
    await expect(asked).rejects.toMatchObject({ name: expect.stringMatching(/AbortError|MusterError/) });
  });
});

describe("a refusal", () => {
  it("of a gated model names the page to ask at, and whether a token was sent", async () => {
    const { commit: revision } = await ask("acme/gated");
    const without = await failure(readRepoFile("acme/gated", revision, "config.json", options()));
    expect(without).toMatchObject({ code: "MODEL_GATED", exitCode: 78, hint: expect.stringContaining("HF_TOKEN") });
    expect(without.hint).toContain(`${hub.url}/acme/gated`);
    expect(without.message).toContain("no token was sent");
    const other = await failure(
      readRepoFile("acme/gated", revision, "config.json", options({ token: "hf_otherotherother" })),
    );
    expect(other.code).toBe("MODEL_GATED");
    expect(other.message).toContain("the token of HF_TOKEN was sent");
    expect(await readRepoFile("acme/gated", revision, "config.json", options({ token: TOKEN }))).toBe("{}");
  });

  it("of an unknown or private repository says that it may be either", async () => {
    for (const repo of ["acme/nothing", "bob/private"]) {
      const error = await failure(ask(repo));
      expect(error).toMatchObject({ code: "REPO_NOT_FOUND", message: expect.stringContaining("or is private") });
      expect(error.message).toContain(repo);
    }
    const known = await failure(ask("acme/nothing", "main", { token: TOKEN }));
    expect(known).toMatchObject({ code: "REPO_NOT_FOUND", message: expect.stringContaining("HF_TOKEN was sent") });
  });

  it("of an unknown revision or file names it", async () => {
    for (const revision of ["nope", "0".repeat(40)]) {
      const error = await failure(ask("acme/tiny", revision));
      expect(error.code).toBe("REVISION_NOT_FOUND");
      expect(error.message).toContain(revision);
    }
    const file = await failure(readRepoFile("acme/tiny", commit, "no/such.txt", options()));
    expect(file).toMatchObject({ code: "FILE_NOT_FOUND", message: expect.stringContaining("no/such.txt") });
  });

  it("of a token that is not known, and of a repository that is switched off", async () => {
    const token = await failure(ask("acme/tiny", "main", { token: "hf_unknownunknown" }));
    expect(token).toMatchObject({ code: "TOKEN_INVALID", hint: expect.stringContaining("HF_TOKEN") });
    const off = await failure(ask("acme/off"));
    expect(off).toMatchObject({ code: "ACCESS_REFUSED", message: expect.stringContaining("disabled") });
  });

  it("says nothing secret, whatever the server said", async () => {
    const mirror = await startServer((req, res) => {
      res
        .writeHead(418, { "x-error-message": `bad ${req.headers.authorization}` })
        .end(`bad ${req.headers.authorization}`);
    });
    const error = await failure(ask("acme/tiny", "main", { endpoint: mirror, token: TOKEN, retries: 0 }));
    expect(error.code).toBe("RESPONSE_INVALID");
    const refusing = await startServer((req, res) => {
      res.writeHead(403, { "x-error-message": `no ${req.headers.authorization}` }).end();
    });
    const refused = await failure(ask("acme/tiny", "main", { endpoint: refusing, token: TOKEN }));
    expect(refused).toMatchObject({ code: "ACCESS_REFUSED", message: expect.stringContaining("[redacted]") });
  });
});

describe("a hostile listing", () => {
  const oid = "0".repeat(40);
  const listing = async (entry: object) => {
    const mirror = await startServer((_req, res) => res.end(JSON.stringify([entry])));
    return ask("acme/tiny", commit, { endpoint: mirror });
  };

  it("with a path that leads outside is refused", async () => {
    for (const path of ["../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a/.", "..", "", "a\\..\\b", "a\0b", "a/"]) {
      const error = await failure(listing({ type: "file", path, size: 1, oid }));
      expect([path, error.code]).toEqual([path, "RESPONSE_INVALID"]);
      expect(isSafePath(path)).toBe(false);
    }
    for (const path of ["a", "a/b", "..a/b..", "...", "a b", "ü#?%2e%2e"]) {
      expect(isSafePath(path)).toBe(true);
      expect((await listing({ type: "file", path, size: 1, oid })).files).toMatchObject([{ path }]);
    }
  });

  it("with a digest that is none is refused", async () => {
    const lfs = { oid: "0".repeat(64), size: 1, pointerSize: 130 };
    for (const wrong of [
      { oid: "../../etc/passwd" },
      { oid: "0".repeat(39) },
      { oid: "0".repeat(64) },
      { oid: undefined },
      { oid, lfs: { ...lfs, oid } },
      { oid, lfs: { ...lfs, oid: "x".repeat(64) } },
      { oid, lfs: { ...lfs, size: -1 } },
      { oid, size: -1 },
      { oid, size: 1.5 },
      { oid, size: "1" },
    ]) {
      const error = await failure(listing({ type: "file", path: "a", size: 1, ...wrong }));
      expect([wrong, error.code]).toEqual([wrong, "RESPONSE_INVALID"]);
    }
    const upper = await listing({ type: "file", path: "a", size: 1, oid: "A".repeat(40) });
    expect(upper.files[0]!.digest.hex).toBe("a".repeat(40));
  });

  it("with one path twice, or a file where a folder is, is refused", async () => {
    const file = (path: string) => ({ type: "file", path, size: 1, oid });
    for (const paths of [
      ["a", "a"],
      ["a", "a/b"],
      ["a/b/c", "a"],
    ]) {
      const mirror = await startServer((_req, res) => res.end(JSON.stringify(paths.map(file))));
      const error = await failure(ask("acme/tiny", commit, { endpoint: mirror }));
      expect([paths, error.code]).toEqual([paths, "RESPONSE_INVALID"]);
    }
  });
});
