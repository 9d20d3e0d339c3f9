import { expect, it } from "vitest";
import { type ErrorCode, MusterError } from "../../src/errors.ts";
import type { Origin } from "../../src/fetch/origin.ts";
import { type TryOptions, tryOrigins } from "../../src/fetch/try-origins.ts";

const origin = (name: string) => ({ name }) as Origin;
const failure = (code: ErrorCode, seconds = 0) =>
  new MusterError(code, code, { hint: "h", details: { retryAfterMs: seconds * 1000 } });

/** What each says, one an attempt; what was asked; and for whom somebody would have waited, which ends it. */
async function run(answers: Map<Origin, (MusterError | string)[]>, options: TryOptions = {}) {
  const asked: string[] = [];
  const waits: [string, number][] = [];
  const stop = new AbortController();
  const work = async (from: Origin, isPatient: boolean) => {
    asked.push(`${from.name}${isPatient ? ", patiently" : ""}`);
    const answer = answers.get(from)!.shift()!;
    if (typeof answer === "string") return answer;
    throw answer;
  };
  const onWait = ({ name }: Origin, waitMs: number) => {
    waits.push([name, Math.round(waitMs / 1000)]);
    stop.abort();
  };
  const outcome = await tryOrigins([...answers.keys()], work, { onWait, signal: stop.signal, ...options }).catch(
    (error: unknown) => (error instanceof MusterError ? error.code : (error as Error).name),
  );
  return { outcome, asked, waits };
}

it("asks the only one patiently, and of several the last", async () => {
  const [a, b] = [origin("a"), origin("b")];
  expect((await run(new Map([[a, ["yes"]]]))).asked).toEqual(["a, patiently"]);
  const { outcome, asked } = await run(
    new Map([
      [a, [failure("MODEL_GATED")]],
      [b, ["yes"]],
    ]),
  );
  expect([outcome, asked]).toEqual(["yes", ["a", "b, patiently"]]);
});

it("leaves alone who asks for a long wait while another has an answer, also the next time", async () => {
  const [a, b] = [origin("a"), origin("b")];
  const answers = new Map([
    [a, [failure("RATE_LIMITED", 600)]],
    [b, ["yes", "yes again"]],
  ]);
  expect(await run(answers)).toEqual({ outcome: "yes", asked: ["a", "b"], waits: [] });
  expect(await run(answers)).toEqual({ outcome: "yes again", asked: ["b"], waits: [] });
});

it("is patient with the other before it waits", async () => {
  const [a, b] = [origin("a"), origin("b")];
  const answers = new Map([
    [a, [failure("SERVER_ERROR", 600)]],
    [b, [failure("SERVER_ERROR"), "yes"]],
  ]);
  expect(await run(answers)).toEqual({ outcome: "yes", asked: ["a", "b", "b, patiently"], waits: [] });
});

it("waits for the one that wants it the shortest, and says so; told to stop it stops", async () => {
  const [a, b, c] = [origin("a"), origin("b"), origin("c")];
  const answers = new Map([
    [a, [failure("RATE_LIMITED", 600)]],
    [b, [failure("RATE_LIMITED", 60)]],
    [c, [failure("REPO_NOT_FOUND")]],
  ]);
  expect(await run(answers)).toEqual({ outcome: "AbortError", asked: ["a", "b", "c"], waits: [["b", 60]] });
});

it("waits where it is the only one", async () => {
  const a = origin("a");
  const answers = new Map([[a, [failure("RATE_LIMITED", 600)]]]);
  expect(await run(answers)).toMatchObject({ outcome: "RATE_LIMITED", asked: ["a, patiently"] });
  expect(await run(answers)).toEqual({ outcome: "AbortError", asked: [], waits: [["a", 600]] });
});

it("tells the first error where nobody has an answer", async () => {
  const [a, b] = [origin("a"), origin("b")];
  const answers = new Map([
    [a, [failure("REPO_NOT_FOUND")]],
    [b, [failure("HOST_UNREACHABLE")]],
  ]);
  expect(await run(answers)).toEqual({ outcome: "REPO_NOT_FOUND", asked: ["a", "b, patiently"], waits: [] });
});
