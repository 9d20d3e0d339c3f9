import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { redact, redactData, registerSecret, showValue } from "../src/redact.ts";

/** The forms in which a secret may be printed. */
const encodings: Record<string, (secret: string) => string> = {
  "as it is": (secret) => secret,
  "in a URL": encodeURIComponent,
  "in a query": (secret) => new URLSearchParams({ "": secret }).toString().slice(1),
  "in JSON": (secret) => JSON.stringify(secret).slice(1, -1),
  "in base64": (secret) => Buffer.from(secret).toString("base64"),
  "in base64url": (secret) => Buffer.from(secret).toString("base64url"),
  "in hex": (secret) => Buffer.from(secret).toString("hex"),
};

describe("a registered secret", () => {
  const SECRET = 'p"ä ss!/wörd+1';
  it.each(Object.entries(encodings))("is removed %s", (_name, encode) => {
    registerSecret(SECRET);
    expect(redact(`before ${encode(SECRET)} between ${encode(SECRET)} after`)).toBe(
      "before [redacted] between [redacted] after",
    );
  });

  it("that lies within another leaves nothing of that one", () => {
    registerSecret("inner-part");
    registerSecret("outer-inner-part-outer");
    expect(redact("outer-inner-part-outer inner-part")).toBe("[redacted] [redacted]");
  });

  it("shorter than four characters would spoil every text", () => {
    registerSecret("abc");
    expect(redact("abc")).toBe("abc");
  });

  it("may be broken Unicode", () => {
    registerSecret("half\ud800pair");
    expect(redact("a half\ud800pair here")).toBe("a [redacted] here");
  });

  it("never survives, in any encoding, in any text", () => {
    // A secret made of the mask's own letters could not be masked.
    const secret = fc.string({ unit: "binary", minLength: 4 }).filter((text) => !"[redacted]".includes(text));
    fc.assert(
      fc.property(secret, fc.string(), fc.string(), (text, before, after) => {
        registerSecret(text);
        for (const [name, encode] of Object.entries(encodings)) {
          const printed = encode(text);
          expect(redact(before + printed + after).includes(printed), name).toBe(false);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe("secrets nobody registered", () => {
  it.each([
    ["https://me:pa55@host/path", "https://[redacted]@host/path"],
    ["https://ghp_token@host", "https://[redacted]@host"],
    ["postgres://me:p@ss:w@host:5432/db", "postgres://[redacted]@host:5432/db"],
    ["see https://host/a@b and https://other", "see https://host/a@b and https://other"],
    ["https://cdn/file?X-Amz-Signature=abc123&part=2", "https://cdn/file?X-Amz-Signature=[redacted]&part=2"],
    [
      "https://cdn/f?Policy=p&Signature=s&Key-Pair-Id=k",
      "https://cdn/f?Policy=[redacted]&Signature=[redacted]&Key-Pair-Id=[redacted]",
    ],
    [
      "https://cdn/f?X-Amz-Credential=c&X-Amz-Security-Token=t",
      "https://cdn/f?X-Amz-Credential=[redacted]&X-Amz-Security-Token=[redacted]",
    ],
    ["https://blob/f?sv=1&sig=abc%3D", "https://blob/f?sv=1&sig=[redacted]"],
    [
      "https://api/?key=AIza1&api_key=x&access_token=y",
      "https://api/?key=[redacted]&api_key=[redacted]&access_token=[redacted]",
    ],
    ["https://hub/?design=1&tokens", "https://hub/?design=1&tokens"],
    ["Authorization: Bearer abcdef123456", "Authorization: Bearer [redacted]"],
    ["authorization: basic bWU6cGE1NQ==", "authorization: basic [redacted]"],
    ["with hf_abcdefghABCDEFGH12345678 and hf_transfer", "with [redacted] and hf_transfer"],
  ])("%s", (text, clean) => {
    expect(redact(text)).toBe(clean);
    expect(redact(clean)).toBe(clean);
  });
});

it("data keeps its form: texts are cleaned at any depth, everything else stays", () => {
  registerSecret("1234");
  const date = new Date(0);
  expect(redactData({ text: "is 1234", deep: [["1234", 91_234_567]], none: null, flag: true, date })).toEqual({
    text: "is [redacted]",
    deep: [["[redacted]", 91_234_567]],
    none: null,
    flag: true,
    date,
  });
});

it.each([
  ["plain", '"plain"'],
  ["http://host:1/path", '"http://host:1/path"'],
  ['ftp://me:a"b c@d@host/?q=1', '"ftp://[redacted]@host/?[redacted]"'],
  ["http:me:pass@host", '"http://[redacted]@host"'],
  ["/a/path?with@marks", '"/a/path?with@marks"'],
])("%s is shown as %s", (value, shown) => {
  expect(showValue(value)).toBe(shown);
});
