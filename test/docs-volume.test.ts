import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { it, onTestFinished } from "vitest";
import { CHAT, TINY, TWIN, volumePlace } from "./cli/volume-place.ts";
import { checkTranscripts } from "./document-transcripts.ts";

// `UPDATE_TRANSCRIPTS=1 npx vitest run test/docs-volume.test.ts` renews what the commands print.
it("the transcripts of docs/volume.md are what the commands print", async () => {
  const at = await volumePlace();
  onTestFinished(() => at[Symbol.asyncDispose]());
  // So that it is not by milliseconds that one is the older.
  at.makeOld(CHAT, 2);
  at.makeOld(TWIN, 1);
  const { env, here } = at;
  const cold = join(here.folder, "cold");
  mkdirSync(cold);
  const paths = { "/models": here.volume, "/mnt/cold": cold };
  // What the text tells of has moved at its source by then.
  const before = (block: string) => {
    if (block.startsWith("$ muster outdated")) at.hub.updateRepo(TINY, { "config.json": '{"model_type":"llama"}' });
  };
  await checkTranscripts(join(import.meta.dirname, "../docs/volume.md"), { env, folder: here.folder, paths, before });
}, 180_000);
