import { type ErrorCode, MusterError } from "../../errors.ts";

/** By the words of the server, which gives no codes; the first that matches. */
const WORDS: [RegExp, ErrorCode, string][] = [
  [
    /file does not exist|manifest unknown|not found/i,
    "REPO_NOT_FOUND",
    "Check the name and tag of the variant in the catalog, then run `muster sync`.",
  ],
  [
    /no space left|disk quota/i,
    "DISK_FULL",
    "Free space where the Ollama server keeps its models, then run `muster sync`.",
  ],
  [
    /requires MLX|newer version of Ollama|unsupported/i,
    "SOURCE_UNSUPPORTED",
    "Update the Ollama server, or put another tag into the catalog, then run `muster sync`.",
  ],
  [/digest mismatch/i, "DIGEST_MISMATCH", "It is fetched again; if it stays so, the registry serves a broken copy."],
  [/unauthorized|denied|40[13]/i, "ACCESS_REFUSED", "Add the server's key to the account that may have the model."],
  [/too many requests|429/i, "RATE_LIMITED", "Wait; it is tried again."],
  [
    /dial tcp|no such host|timeout|EOF|connection re|max retries|x509|tls:/i,
    "HOST_UNREACHABLE",
    "Check the network, proxy and CA settings of the Ollama server; it is tried again.",
  ],
];

/** What an Ollama server said went wrong, `status` where it said so before anything else. */
export function pullError(text: string, status: number | null, url: string): MusterError {
  const [, code, hint] = WORDS.find(([words]) => words.test(text)) ?? [
    null,
    "SERVER_ERROR" as const,
    "See the log of the Ollama server. It is tried again.",
  ];
  return new MusterError(code, `The Ollama server at ${url} failed: ${text.slice(0, 300)}`, {
    hint,
    details: status === null ? {} : { status },
  });
}
