import { expect, it } from "vitest";
import { KnownModels } from "../../../src/coordinator/gateway/known-models.ts";
import { workerView } from "../../../src/coordinator/workers/worker-view.ts";
import type { ModelReport } from "../../../src/protocol.ts";
import { hello } from "../raw-worker.ts";

const report = (model: string, change: Partial<ModelReport> = {}): ModelReport => ({
  ...{ model, source: "ollama", location: `${model}:latest`, variant: "only", revision: "main", required: true },
  ...{ state: "ready", bytesDone: 1, bytesTotal: 1, rate: 0, errorCode: null },
  ...change,
});

it("knows models by all their names, and what comes as soon as it is asked for", () => {
  const workers = [workerView(hello({ models: [report("tiny", { asked: ["hf:acme/tiny"] })] }), 1, null)];
  let looks = 0;
  const known = new KnownModels(() => {
    looks += 1;
    return workers;
  });
  for (const name of ["tiny", "tiny:latest"]) {
    expect(known.find(name)).toEqual({
      model: name,
      names: new Set(["tiny", "tiny:latest"]),
      kinds: new Set(["chat"]),
    });
  }
  expect(known.find("hf:acme/tiny")?.model).toBe("tiny");
  expect([looks, known.workers]).toEqual([1, 1]);
  expect(known.find("other")).toBeNull();
  workers.push(workerView(hello({ workerId: "worker-2", models: [report("other")], slots: { ocr: 1 } }), 2, null));
  expect(known.find("other")?.kinds).toEqual(new Set(["ocr"]));
  expect(known.workers).toBe(2);
});

it("looks anew before it says that what it knows is not enough", () => {
  const workers = [workerView(hello({ models: [report("tiny")] }), 1, null)];
  const known = new KnownModels(() => workers);
  expect(known.find("tiny")?.kinds).toEqual(new Set(["chat"]));
  workers.push(workerView(hello({ workerId: "worker-2", models: [report("tiny")], slots: { embedding: 1 } }), 2, null));
  expect(known.find("tiny", ({ kinds }) => kinds.has("embedding"))?.kinds).toEqual(new Set(["chat", "embedding"]));
  expect(known.find("tiny", ({ kinds }) => kinds.has("ocr"))?.kinds).toEqual(new Set(["chat", "embedding"]));
});
