import { expect, it } from "vitest";
import { readiness } from "../../src/http/readiness.ts";
import { type AgentStatus, createStatusBoard, type StatusBoard } from "../../src/status.ts";

const NOW = 1_000_000;

/** Of an agent with one stored model that had a beat acknowledged one interval ago, changed. */
function reasons(change: (board: StatusBoard) => void = () => undefined): string[] {
  const board = createStatusBoard({ version: "1", workerId: "w", bootId: "b", workerType: "chat" });
  board.setModel("tiny", { state: "stored" });
  board.update({ state: "syncing" });
  board.setCoordinator({ url: "ws://c", connected: true, beatMs: 1000, lastAckAt: NOW - 1000 });
  change(board);
  const found = readiness(board.current, NOW);
  expect(found.ready).toBe(found.reasons.length === 0);
  return found.reasons;
}

it("a registered agent with its models is ready", () => {
  expect(reasons()).toEqual([]);
});

const error = { code: "TOKEN_INVALID", message: "The hub does not accept the token.", hint: "h" } as const;

it.each<[string, (board: StatusBoard) => void, string[]]>([
  ["paused", (board) => board.update({ state: "paused" }), ["the agent is paused"]],
  ["draining", (board) => board.update({ state: "draining" }), ["the agent is draining"]],
  ["a GPU gone", (board) => board.update({ lostGpus: ["GPU-1", "GPU-2"] }), ["GPU GPU-1, GPU-2 is gone"]],
  [
    "a model missing",
    (board) => board.setModel("big", { state: "fetching" }),
    ["the agent is syncing", "model big is fetching"],
  ],
  [
    "a model failed",
    (board) => board.setModel("big", { state: "failed", error }),
    ["the agent is syncing", "model big is failed: The hub does not accept the token."],
  ],
  ["an optional model failed", (board) => board.setModel("big", { state: "failed", required: false }), []],
  ["a model that loads", (board) => board.setModel("tiny", { state: "loading" }), []],
  [
    "not connected",
    (board) => board.setCoordinator({ url: "ws://c", connected: false, error: "nothing listens there" }),
    ["not registered with ws://c: nothing listens there"],
  ],
  [
    "never acknowledged",
    (board) => board.setCoordinator({ url: "ws://c", lastAckAt: null }),
    ["no beat was acknowledged yet"],
  ],
  ["two intervals silent", (board) => board.setCoordinator({ url: "ws://c", lastAckAt: NOW - 2000 }), []],
  [
    "longer silent",
    (board) => board.setCoordinator({ url: "ws://c", lastAckAt: NOW - 9000 }),
    ["no beat was acknowledged for 9 s"],
  ],
])("%s", (_what, change, expected) => {
  expect(reasons(change)).toEqual(expected);
});

it("an agent that stands alone needs no coordinator", () => {
  const board = createStatusBoard({ version: "1", workerId: "w", bootId: "b", workerType: "chat" });
  const alone = (change: Partial<AgentStatus>) => readiness({ ...board.current, ...change }, NOW);
  expect(alone({ state: "ready" })).toEqual({ ready: true, reasons: [] });
  expect(alone({}).reasons).toEqual(["the agent is starting"]);
});
