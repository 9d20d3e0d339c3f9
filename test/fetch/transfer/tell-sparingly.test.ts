import { expect, it } from "vitest";
import { tellSparingly } from "../../../src/fetch/transfer/tell-sparingly.ts";

it("tells the same words a few times, other words as well, and the same again after a while", () => {
  let now = 0;
  const told: string[] = [];
  const tell = tellSparingly(
    (text) => told.push(text),
    () => now,
  );
  for (let nth = 0; nth < 80; nth += 1) tell("The link is refused.", ` Again in ${nth} s`);
  tell("Another trouble.", "");
  expect(told).toEqual([...[0, 1, 2, 3].map((nth) => `The link is refused. Again in ${nth} s`), "Another trouble."]);
  now = 5_000;
  tell("The link is refused.", "");
  expect(told.at(-1)).toBe("The link is refused.");
});
