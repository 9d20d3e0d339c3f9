import { expect, it } from "vitest";
import { MusterError } from "../../src/errors.ts";
import { plainVariant, type Variant } from "../../src/model.ts";
import { contentObjections } from "../../src/select/content-objection.ts";
import { selectBeside } from "../../src/select/select-beside.ts";
import { choose, chosen, gpu, machine, model, variant, wants, workerType } from "./machine.ts";

const hardware = machine([gpu(24)]);
const licenses = { allowed: ["mit"], refuse: true };
const facts = (license: string | null) => ({ weightsBytes: 2 ** 30, projectorBytes: 0, architecture: null, license });
const objectTo = (found: Record<string, string>, refuse = true) =>
  contentObjections({
    policy: { licenses: { ...licenses, refuse }, pickles: "catalog" },
    factsOf: ({ id }) => facts(found[id] ?? null),
    refused: new Map(),
  });
const adapter = (id: string, license: string | null) => ({
  id,
  license,
  variant: plainVariant({ id, source: "huggingface", location: `acme/${id}`, revision: "main" }),
});

it("an adapter's licence counts like its model's, by the catalog's word and the source's", () => {
  const free = variant("free", 1, { adapters: [adapter("sql", "mit")] });
  const type = (each: Variant) => workerType([wants(model("chat", [each], { license: "mit" }))]);
  expect(chosen(choose({ hardware, workerType: type(free), objectTo: objectTo({}) }))[0]).toMatch(/^chat free/);
  const own = { ...free, adapters: [adapter("sql", "cc-by-nc-4.0")] };
  expect(() => choose({ hardware, workerType: type(own), objectTo: objectTo({}) })).toThrow(
    expect.objectContaining({ code: "LICENSE_REFUSED", message: expect.stringMatching(/^acme\/sql is under/) }),
  );
  const found = objectTo({ sql: "cc-by-nc-4.0" });
  expect(() => choose({ hardware, workerType: type(free), objectTo: found })).toThrow(/acme\/sql is under/);
});

it("what is refused for other reasons, too, is told by those", () => {
  const models = [wants(model("chat", [variant("large", 80), variant("closed", 1)], { license: "gemma" }))];
  const only = contentObjections({
    policy: { licenses: null, pickles: "catalog" },
    factsOf: () => null,
    refused: new Map([
      [models[0]!.model.variants[1]!, new MusterError("PICKLE_REFUSED", "No pickles.", { hint: "h" })],
    ]),
  });
  try {
    choose({ hardware, workerType: workerType(models), objectTo: only });
    expect.unreachable();
  } catch (error) {
    expect(error).toMatchObject({
      code: "NOTHING_FITS",
      message: expect.stringContaining("chat as closed: No pickles"),
    });
  }
});

it("a run-time model under another licence is refused, or taken with a word", () => {
  const more = model("more", [variant("more", 1)]);
  const input = {
    ...{ hardware, workerType: workerType([]), enableGpu: "auto" as const, minGpuMemoryGb: null },
    ...{ catalog: { models: new Map(), workerTypes: new Map() }, factsOf: () => facts("gemma") },
  };
  const ask = (refuse: boolean) =>
    selectBeside({ ...input, objectTo: objectTo({ more: "gemma" }, refuse) }, [], { model: more, context: null });
  expect(() => ask(true)).toThrow(expect.objectContaining({ code: "LICENSE_REFUSED" }));
  expect(ask(false).reason).toMatch(/^needs .*; acme\/more is under gemma/);
});
