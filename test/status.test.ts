import { describe, expect, it } from "vitest";
import { MODEL_STATES } from "../src/model.ts";
import { createStatusBoard, type RunningJob, type StatusEvent } from "../src/status.ts";

const START = { version: "1.2.3", workerId: "worker-1", bootId: "boot-1", workerType: "chat" };

function board() {
  const made = createStatusBoard(START);
  const events: string[] = [];
  made.onChange((event: StatusEvent) => events.push(event.kind === "model" ? `model ${event.model.id}` : event.kind));
  return { board: made, events };
}

it("starts with nothing known", () => {
  expect(createStatusBoard(START).current).toMatchObject({
    ...START,
    state: "starting",
    ready: false,
    hardware: null,
    models: [],
    engines: [],
    coordinator: null,
    startedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
  });
});

describe("models", () => {
  it("are added, and changes merged into them; who listens hears of each", () => {
    const { board: made, events } = board();
    made.setModel("tiny", { engine: "ollama", bytesTotal: 7 });
    made.setModel("tiny", { bytesDone: 3 });
    made.setModel("other", {});
    expect(made.current.models).toMatchObject([
      { id: "tiny", engine: "ollama", bytesTotal: 7, bytesDone: 3, state: "requested", required: true, error: null },
      { id: "other", engine: "vllm" },
    ]);
    expect(events).toEqual(["model tiny", "model tiny", "model other"]);
  });

  it.each(MODEL_STATES.map((state) => [state, ["stored", "loading", "ready"].includes(state)] as const))(
    "a required one that is %s: ready is %s",
    (state, ready) => {
      const { board: made } = board();
      made.setModel("tiny", { state });
      made.update({ state: "syncing" });
      expect(made.current).toMatchObject({ ready, state: ready ? "ready" : "syncing" });
    },
  );

  it("an optional one keeps nobody waiting", () => {
    const { board: made } = board();
    made.setModel("tiny", { state: "fetching", required: false });
    made.update({ state: "syncing" });
    expect(made.current.ready).toBe(true);
  });
});

it("jobs stand there until they end", () => {
  const { board: made, events } = board();
  const job = (jobId: string): RunningJob => {
    return { jobId, attempt: 1, kind: "chat", model: "tiny", startedAt: new Date().toISOString(), chunks: 0 };
  };
  const [first, second] = [job("a"), job("b")];
  made.startJob(first);
  made.startJob(second);
  second.chunks += 1;
  made.endJob(first, { status: "done" });
  expect(made.current.jobs).toEqual([{ ...job("b"), startedAt: expect.any(String), chunks: 1 }]);
  expect(events).toEqual(["job", "job", "job"]);
});

describe("the agent's state", () => {
  it("follows the required models to ready and back, and says so", () => {
    const { board: made, events } = board();
    made.setModel("tiny", { state: "fetching" });
    made.update({ state: "syncing" });
    events.length = 0;
    made.setModel("tiny", { state: "stored" });
    expect(made.current).toMatchObject({ state: "ready", ready: true });
    expect(events).toEqual(["model tiny", "agent"]);
    made.setModel("tiny", { state: "failed" });
    expect(made.current).toMatchObject({ state: "syncing", ready: false });
    expect(events).toEqual(["model tiny", "agent", "model tiny", "agent"]);
  });

  it("before the models are chosen there is nothing to be ready for", () => {
    const { board: made } = board();
    made.setModel("tiny", { state: "stored" });
    expect(made.current).toMatchObject({ state: "starting", ready: false });
  });

  it.each(["paused", "draining", "stopped"] as const)("%s stays, whatever becomes of the models", (state) => {
    const { board: made } = board();
    made.setModel("tiny", { state: "stored" });
    made.update({ state });
    made.setModel("tiny", { state: "ready" });
    expect(made.current).toMatchObject({ state, ready: false });
  });

  it("resumed, it is ready at once where the models are there", () => {
    const { board: made } = board();
    made.setModel("tiny", { state: "stored" });
    made.update({ state: "paused" });
    made.update({ state: "syncing" });
    expect(made.current).toMatchObject({ state: "ready", ready: true });
  });

  it("without its GPU it is not ready", () => {
    const { board: made } = board();
    made.update({ state: "syncing" });
    made.update({ lostGpus: ["GPU-1"] });
    expect(made.current).toMatchObject({ state: "ready", ready: false });
    made.update({ lostGpus: [] });
    expect(made.current.ready).toBe(true);
  });
});

it("the coordinator's part is merged, and forgets nothing at a disconnection", () => {
  const { board: made, events } = board();
  made.setCoordinator({ url: "ws://c" });
  expect(made.current.coordinator).toMatchObject({ url: "ws://c", connected: false, lastAckAt: null });
  made.setCoordinator({ url: "ws://c", connected: true, sessionId: "s", lastAckAt: 5 });
  made.setCoordinator({ url: "ws://c", connected: false, error: "gone" });
  expect(made.current.coordinator).toMatchObject({ connected: false, sessionId: "s", lastAckAt: 5, error: "gone" });
  expect(events).toEqual(["coordinator", "coordinator", "coordinator"]);
});

it("who unsubscribed hears nothing any more", () => {
  const made = createStatusBoard(START);
  let heard = 0;
  const unsubscribe = made.onChange(() => {
    heard += 1;
  });
  made.update({ engines: [] });
  unsubscribe();
  made.update({ engines: [] });
  expect(heard).toBe(1);
});
