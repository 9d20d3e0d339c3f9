import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Fleet } from "../../../src/coordinator/jobs/fleet.ts";
import { byTurn, JobQueue, type QueuedJob } from "../../../src/coordinator/jobs/job-queue.ts";
import { openMemoryStore } from "../../../src/coordinator/stores/memory.ts";
import { until } from "../../until.ts";
import { CHAT, joinRaw, MODEL, startRawCoordinator } from "../raw-fleet.ts";

const queued = (change: Partial<QueuedJob> = {}): QueuedJob => ({
  ...{ id: "a", lane: "chat llama", kind: "chat", model: "llama", client: null, priority: 0, attended: false },
  ...{ createdAt: 0, deadlineAt: 1, attempt: 0, order: 1, ...change },
});

function fleetOf(workers: Record<string, { credit: number; slots?: number; models?: string[] }>): Fleet {
  const fleet = new Fleet();
  for (const [id, { credit, slots = 8, models = ["llama"] }] of Object.entries(workers)) {
    const reports = models.map((model) => ({ ...MODEL, model, location: `${model}:latest` }));
    fleet.update(id, { connected: true, ready: true, slots: { chat: slots }, models: reports });
    fleet.credit(id, "chat", credit);
  }
  return fleet;
}

describe("the fleet gives a job", () => {
  test("to who has most of its slots free, of those that have the model and credit", () => {
    const fleet = fleetOf({ half: { credit: 4 }, free: { credit: 2, slots: 2 }, full: { credit: 0 } });
    expect(fleet.best("chat llama", queued())).toBe("free");
    fleet.credit("free", "chat", 0);
    expect(fleet.best("chat llama", queued())).toBe("half");
    fleet.update("half", null);
    expect(fleet.best("chat llama", queued())).toBeNull();
  });

  test("to where the model was the last one used, rather than where another was", () => {
    const fleet = fleetOf({
      warm: { credit: 2, models: ["llama", "other"] },
      cold: { credit: 8, models: ["llama", "other"] },
    });
    fleet.offered("warm", queued());
    fleet.answered("warm", queued(), "accepted");
    expect(fleet.best("chat llama", queued())).toBe("warm");
    expect(fleet.best("chat other", queued({ lane: "chat other", model: "other" }))).toBe("cold");
  });

  test("by any of the model's names, and not to who has turned one down just now", () => {
    const fleet = fleetOf({ one: { credit: 2 }, two: { credit: 1, slots: 8 } });
    for (const model of ["llama", "llama:latest"]) {
      expect(fleet.best(`chat ${model}`, queued({ model, lane: `chat ${model}` }))).toBe("one");
    }
    fleet.offered("one", queued());
    fleet.answered("one", queued(), "declined");
    expect(fleet.best("chat llama", queued())).toBe("two");
    fleet.credit("one", "chat", 8);
    expect(fleet.best("chat llama", queued())).toBe("one");
  });

  test("not to whose engine could not do the last one, until it has done one or comes back", () => {
    const fleet = fleetOf({ one: { credit: 8 }, two: { credit: 1, models: ["llama", "other"] } });
    const best = (model = "llama") => fleet.best(`chat ${model}`, queued({ model, lane: `chat ${model}` }));
    expect(best()).toBe("one");
    fleet.faltered("one", queued());
    // Credit says that it has slots, and nothing of its engine.
    fleet.credit("one", "chat", 8);
    expect(best()).toBe("two");
    expect(fleet.roomFor("chat llama", "chat")).toBe(1);
    fleet.faltered("two", queued());
    expect(best()).toBeNull();
    expect(best("other")).toBe("two");
    fleet.worked("two", queued());
    expect(best()).toBe("two");
    const view = { connected: true, ready: true, slots: { chat: 8 } };
    const models = [{ ...MODEL, model: "llama", location: "llama:latest" }];
    fleet.update("one", { ...view, models: models.map((model) => ({ ...model, state: "loading" as const })) });
    fleet.update("one", { ...view, models });
    expect(best()).toBe("one");
  });

  test("no more often than its credit says, counting offers without an answer", () => {
    const fleet = fleetOf({ one: { credit: 2 } });
    fleet.offered("one", queued());
    fleet.offered("one", queued());
    expect(fleet.best("chat llama", queued())).toBeNull();
    // Told before the offers came.
    fleet.credit("one", "chat", 2);
    expect(fleet.best("chat llama", queued())).toBeNull();
    fleet.answered("one", queued(), "accepted");
    fleet.answered("one", queued(), "accepted");
    expect(fleet.best("chat llama", queued())).toBeNull();
    fleet.credit("one", "chat", 1);
    expect(fleet.best("chat llama", queued())).toBe("one");
  });
});

test("the queue gives its jobs in their turn, whatever came and went in between", () => {
  const step = fc.record({
    id: fc.nat(20),
    priority: fc.integer({ min: -2, max: 2 }),
    client: fc.constantFrom("alice", "bob", null),
    goes: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.constantFrom("alice", null), (steps, blocked) => {
      const queue = new JobQueue();
      const model = new Map<string, QueuedJob>();
      for (const [order, { id, priority, client, goes }] of steps.entries()) {
        const job = queued({ id: `job-${id}`, priority, client, order });
        if (goes) expect(queue.remove(job.id)).toBe(model.delete(job.id));
        else {
          queue.add(job);
          if (!model.has(job.id)) model.set(job.id, job);
        }
      }
      expect(queue.size).toBe(model.size);
      const waiting = [...model.values()].toSorted(byTurn);
      const mayRun = (client: string | null) => client !== blocked;
      expect(queue.head("chat llama", mayRun)).toEqual(waiting.find(({ client }) => mayRun(client)) ?? null);
      for (const expected of waiting) {
        expect(queue.head("chat llama", () => true)).toEqual(expected);
        queue.remove(expected.id);
      }
      expect(queue.lanes()).toEqual([]);
    }),
  );
});

test("after a restart nobody waits for requests on open connections: they end, at their worker too", async () => {
  const store = openMemoryStore();
  const durable = { ...store, close: async () => undefined };
  const first = await startRawCoordinator({ store: durable });
  using worker = await joinRaw(first.wsUrl);
  const running = await first.jobs.attend(CHAT);
  const offer = await worker.offer();
  const waiting = await first.jobs.attend(CHAT);
  await first.close();
  await using second = await startRawCoordinator({ store: durable });
  await until(
    "the one that waited is over",
    async () => (await second.jobs.get(waiting.job.id))?.state === "cancelled",
  );
  const { jobId, attempt, lease } = offer;
  using back = await joinRaw(second.wsUrl, { jobs: [{ jobId, attempt, lease, cs: 0 }] });
  back.send({
    ...{ t: "beat", n: 2, ready: true, state: "ready", slotsFree: {}, gpus: [], diskFreeBytes: 1, loopLagMs: 0 },
    ...{ jobs: [{ jobId, attempt }], modelsRevision: 0 },
  });
  await until("its worker is told", () => back.all("job.cancel")[0]);
  back.answer(offer, "", { status: "cancelled" });
  await until("it is over", async () => (await second.jobs.get(running.job.id))?.state === "cancelled");
});
