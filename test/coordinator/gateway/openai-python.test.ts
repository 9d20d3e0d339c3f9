import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { startFleet } from "../fleet.ts";

const PYTHON = join(import.meta.dirname, "../../../.interop/openai/bin/python");
const KEY = "client-secret-0123456789";

/** What the Python client makes of a whole session; printed as JSON. */
const SESSION = `
import json, sys, openai
client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
messages = [{"role": "user", "content": "Hi"}]
said = {}
chat = client.chat.completions.create(model="tiny", messages=messages)
said["chat"] = [chat.choices[0].message.content, chat.usage.total_tokens]
stream = client.chat.completions.create(model="tiny", messages=messages, stream=True, stream_options={"include_usage": True})
chunks = list(stream)
said["stream"] = ["".join(c.choices[0].delta.content or "" for c in chunks if c.choices), chunks[-1].usage.total_tokens]
said["completion"] = client.completions.create(model="tiny", prompt="Once").choices[0].text
said["base64"] = [e.embedding for e in client.embeddings.create(model="vectors", input=["a", "four"]).data]
said["float"] = [e.embedding for e in client.embeddings.create(model="vectors", input="a", encoding_format="float").data]
said["models"] = [m.id for m in client.models.list()]
try:
    client.chat.completions.create(model="nothing", messages=messages)
except openai.NotFoundError as error:
    said["missing"] = [error.status_code, error.code]
try:
    openai.OpenAI(base_url=sys.argv[1], api_key="wrong", max_retries=0).models.list()
except openai.AuthenticationError as error:
    said["stranger"] = [error.status_code, error.code]
try:
    client.chat.completions.create(model="tiny", messages=[])
except openai.BadRequestError as error:
    said["wrong"] = [error.status_code, error.type]
stream = client.chat.completions.create(model="tiny", messages=messages, stream=True)
next(iter(stream))
stream.close()
print(json.dumps(said))
`;
const TOOLS = `
import json, sys, openai
client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
request = dict(model="tiny", messages=[{"role": "user", "content": "Hi"}], tools=tools)
whole = client.chat.completions.create(**request).choices[0]
with client.chat.completions.stream(**request) as stream:
    pieces = stream.get_final_completion().choices[0]
print(json.dumps([[c.finish_reason, c.message.tool_calls[0].function.name, c.message.tool_calls[0].function.arguments] for c in (whole, pieces)]))
`;

const run = async (script: string, url: string) => {
  const { stdout } = await promisify(execFile)(PYTHON, ["-c", script, `${url}/v1`, KEY], { timeout: 45_000 });
  return JSON.parse(stdout);
};

if (!existsSync(PYTHON)) {
  test.skip("OpenAI's Python client is not installed: scripts/interop-setup does that", () => undefined);
} else {
  test("OpenAI's Python client gets through a session", async () => {
    await using fleet = await startFleet({ clientToken: KEY });
    const text = "Hello, wörld 🌍";
    expect(await run(SESSION, fleet.coordinator.url)).toEqual({
      ...{ chat: [text, 10], stream: [text, 10], completion: text },
      base64: [
        [1, 0.5, -0.25],
        [4, 0.5, -0.25],
      ],
      ...{ float: [[1, 0.5, -0.25]], models: ["eyes", "tiny", "vectors"] },
      ...{
        missing: [404, "model_not_found"],
        stranger: [401, "invalid_api_key"],
        wrong: [400, "invalid_request_error"],
      },
    });
    expect(fleet.engine.requests.find(({ path }) => path === "/v1/embeddings")?.body.encoding_format).toBe("base64");
    fleet.engine.script.pieces = [{ call: { name: "weather", arguments: { city: "Łódź" } } }];
    const called = ["tool_calls", "weather", '{"city":"Łódź"}'];
    expect(await run(TOOLS, fleet.coordinator.url)).toEqual([called, called]);
  });
}
