import { startHub } from "../../test/fakes/hub/hub.ts";

/** A hub in a process of its own, with one repository whose weights are the file named by the first argument. */
const [file = ""] = process.argv.slice(2);
const hub = await startHub();
hub.addRepo({
  id: "bench/model",
  files: { "config.json": '{"model_type":"bench"}', "model.safetensors": { path: file } },
});
process.stdout.write(`${JSON.stringify({ url: hub.url })}\n`);
