import { describe, expect, test } from "vitest";
import { parseReference, showReference } from "../src/model-reference.ts";

describe("a reference", () => {
  test.each([
    ["hf:acme/tiny", "huggingface", "acme/tiny", "main", "hf:acme/tiny"],
    ["hf:acme/tiny@main", "huggingface", "acme/tiny", "main", "hf:acme/tiny"],
    ["hf:gpt2@refs/pr/1", "huggingface", "gpt2", "refs/pr/1", "hf:gpt2@refs/pr/1"],
    ["ollama:llama3.2", "ollama", "llama3.2", "main", "ollama:llama3.2"],
    ["ollama:llama3.2:latest", "ollama", "llama3.2", "main", "ollama:llama3.2"],
    ["ollama:user/qwen2.5:0.5b", "ollama", "user/qwen2.5:0.5b", "main", "ollama:user/qwen2.5:0.5b"],
    ["s3://models/prod/tiny/", "s3", "s3://models/prod/tiny", "main", "s3://models/prod/tiny"],
  ])("%s", (text, source, location, revision, shown) => {
    const named = parseReference(text)!;
    expect(named).toEqual({ source, location, revision, host: null });
    expect(showReference(named)).toBe(shown);
    expect(parseReference(shown)).toEqual(named);
  });

  test("knows the host of an Ollama name", () => {
    expect(parseReference("ollama:hf.co/acme/tiny:q4")).toMatchObject({
      location: "hf.co/acme/tiny:q4",
      host: "hf.co",
    });
    expect(parseReference("ollama:localhost:5000/library/tiny")?.host).toBe("localhost:5000");
  });

  test.each([
    ...["", "tiny", "acme/tiny", "hf:", "hf:../x", "hf:a/b/c", "hf:acme/..", "hf:acme/tiny@", "hf:acme/tiny@a/../b"],
    ...[
      "hf:acme/tiny@-rf",
      "hf:acme/ti ny",
      "hf:acme/tiny\n",
      "ollama:",
      "ollama:http://10.0.0.1/a/b",
      "ollama:a/b/c/d",
    ],
    ...["ollama:a:b:c", "ollama:-x", "s3://models", "s3://models/", "s3://key:secret@models/x", "s3://models/a/../b"],
    ...["path:/etc", "file:///etc", "/etc", "https://hub.example/acme/tiny", `hf:acme/${"x".repeat(600)}`],
  ])("is not %j", (text) => {
    expect(parseReference(text)).toBeNull();
  });
});
