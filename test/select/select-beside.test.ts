import { expect, test } from "vitest";
import type { Hardware } from "../../src/hardware.ts";
import type { ModelSpec } from "../../src/model.ts";
import { selectBeside } from "../../src/select/select-beside.ts";
import type { CatalogModel } from "../../src/select/worker-types.ts";
import { choose, gpu, machine, model, variant, wants, workerType } from "./machine.ts";

/** What is placed first, and what then is wanted beside it. */
function beside(hardware: Hardware, first: CatalogModel[], more: CatalogModel): ModelSpec {
  const type = workerType(
    first.map((each) => wants(each)),
    { gpu: hardware.gpus.length > 0 ? "required" : "none" },
  );
  const { models } = choose({ hardware, workerType: type });
  const input = { catalog: { models: new Map(), workerTypes: new Map() }, workerType: type, hardware };
  const rest = { enableGpu: "auto", minGpuMemoryGb: null, factsOf: () => null } as const;
  return selectBeside({ ...input, ...rest }, models, { model: more, context: null });
}

const onOllama = { engine: "ollama", source: "ollama" } as const;

test("it goes where there is room, and is never required", () => {
  const hardware = machine([gpu(24), gpu(24)]);
  const spec = beside(hardware, [model("first", [variant("fp16", 14)])], model("more", [variant("fp16", 14)]));
  expect(spec).toMatchObject({ id: "more", required: false, runTime: true, gpus: [1] });
});

test("the first of its variants that fits beside what is placed is taken", () => {
  const more = model("more", [variant("fp16", 14), variant("q4", 4, onOllama)]);
  expect(beside(machine([gpu(24)]), [], more).variant.id).toBe("fp16");
  expect(beside(machine([gpu(24)]), [model("first", [variant("fp16", 10)])], more).variant.id).toBe("q4");
});

test("Ollama's models count too, on cards and in main memory", () => {
  const first = model("first", [variant("q4", 14, onOllama)]);
  const more = model("more", [variant("q4", 14, onOllama)]);
  for (const hardware of [machine([gpu(24)]), machine([], 24)]) {
    expect(beside(hardware, [], more).id).toBe("more");
    expect(() => beside(hardware, [first], more)).toThrow(
      /^more does not fit this worker beside first: needs 16\.0 GiB, /,
    );
  }
});

test("Ollama gives each of its sequences a cache, of every model", () => {
  const hardware = machine([gpu(24)]);
  const type = workerType([wants(model("first", [variant("q4", 4, onOllama)]))], { slots: { chat: 4 } });
  const { models } = choose({ hardware, workerType: type });
  expect(models[0]?.share.sequences).toBe(4);
  const input = { catalog: { models: new Map(), workerTypes: new Map() }, workerType: type, hardware };
  const rest = { enableGpu: "auto", minGpuMemoryGb: null, factsOf: () => null } as const;
  const ask = (weightsGib: number) =>
    selectBeside({ ...input, ...rest }, models, {
      model: model("more", [variant("q4", weightsGib, onOllama)], { contextLength: 8192 }),
      context: null,
    });
  // Of 24 GiB the first has 5 and 4 caches of 1 GiB; three caches of the other gone, 0.8 of what is left are 9.6.
  expect(ask(6).share.sequences).toBe(4);
  expect(() => ask(9)).toThrow(/needs 11\.0 GiB, GPU 0 has 9\.6 GiB/);
});

test("the refusal has need and have, of the variant that came closest", () => {
  const more = model("more", [variant("fp16", 140), variant("q4", 30)]);
  expect(() => beside(machine([gpu(24)]), [], more)).toThrow(
    expect.objectContaining({
      code: "NOTHING_FITS",
      message: expect.stringMatching(/^more does not fit this worker: fp16 needs .+; q4 needs .+GPU 0 has 21\.6 GiB/),
      details: { needBytes: expect.closeTo(33.5 * 2 ** 30, -9), haveBytes: expect.closeTo(21.6 * 2 ** 30, -9) },
    }),
  );
});
