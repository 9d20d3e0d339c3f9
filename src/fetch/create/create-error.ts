import { type ErrorCode, MusterError } from "../../errors.ts";

/** By the words of the server, which gives no codes; the first that matches. */
const WORDS: [RegExp, ErrorCode, string][] = [
  [
    /no space left|disk quota/i,
    "DISK_FULL",
    "Free space where the Ollama server keeps its models; what was sent stays there, and is not sent again.",
  ],
  [
    /digest mismatch/i,
    "DIGEST_MISMATCH",
    "The file changed while it was read, or the way to the server is broken; run it again.",
  ],
  [
    /invalid model name|invalid file ?path|file names? must/i,
    "INVALID_INPUT",
    "Give another name with --as, such as --as acme/tiny:q4: `muster import-gguf --help` shows examples.",
  ],
  [
    /quantiz|file ?type/i,
    "UNSUPPORTED",
    "Servers quantize weights in F16, BF16 or F32 only, to types such as q8_0, q4_K_M or q4_K_S; leave --quantize out to bring the model as it is.",
  ],
  [
    /unsupported|unknown (?:architecture|type|format)|not supported|no (?:supported|usable) |could not find|missing (?:config|tokenizer)|invalid (?:magic|file)|requires|unknown model/i,
    "SOURCE_UNSUPPORTED",
    "Update the Ollama server, or take the model as GGUF: `muster import-gguf ORG/NAME-GGUF --as NAME`.",
  ],
  [
    /permission denied|read-only file system/i,
    "ENGINE_FAILED",
    "See the log of the Ollama server: its store cannot be written.",
  ],
  [
    /request entity too large|body too large|413/i,
    "PAYLOAD_TOO_LARGE",
    "A proxy before the server takes no large files: name the server itself in OLLAMA_URL.",
  ],
  [
    /unauthorized|forbidden|40[13]/i,
    "ACCESS_REFUSED",
    "Put the credentials of the proxy before the server into OLLAMA_URL.",
  ],
];

/** What an Ollama server said went wrong while it made a model. `status`: where it said so before anything else. */
export function createError(text: string, status: number | null, url: string): MusterError {
  const said = text.trim() === "" ? `status ${status}` : text.trim();
  const [, code, hint] = WORDS.find(([words]) => words.test(said)) ?? [
    null,
    "SERVER_ERROR" as const,
    "See the log of the Ollama server, and run it again: what was sent is not sent again.",
  ];
  return new MusterError(code, `The Ollama server at ${url} failed: ${said.slice(0, 300)}`, {
    hint,
    details: status === null ? {} : { status },
  });
}
