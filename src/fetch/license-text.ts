/** Licences by their texts, for sources that give the text and no id. The first that matches; ids as hub and SPDX have them. */
const TEXTS: [RegExp, string | ((found: RegExpExecArray) => string)][] = [
  // An id in place of the text.
  [/^(mit|isc|zlib|(?:apache|[al]?gpl|bsd|mpl|cc-by|cc0)[\w.-]*)$/, ([id]) => id],
  [/spdx-license-identifier:\s*([\w.+-]+)/, ([, id = ""]) => id],
  [/llama (\d(?:\.\d)?) (?:community )?license/, ([, version]) => `llama${version}`],
  [/gemma terms of use|gemma is provided under and subject to the gemma/, "gemma"],
  [/tongyi qianwen research|qwen research license/, "qwen-research"],
  [/tongyi qianwen license/, "tongyi-qianwen"],
  [/qwen license/, "qwen"],
  [/mistral ai non-production license/, "mnpl"],
  [/mistral ai research license/, "mrl"],
  [/deepseek license/, "deepseek"],
  [/bigcode open ?rail/, "bigcode-openrail-m"],
  [/apache license,? (?:version )?2\.0/, "apache-2.0"],
  [/gnu affero general public license.{0,40}version 3/, "agpl-3.0"],
  [/gnu lesser general public license.{0,40}version (3|2\.1)/, ([, version]) => `lgpl-${decimal(version)}`],
  [/gnu general public license.{0,40}version ([23])/, ([, version]) => `gpl-${version}.0`],
  [/mozilla public license,? version 2\.0/, "mpl-2.0"],
  [
    /attribution(-noncommercial)?(-noderiv(?:ative)?s|-sharealike)? (\d\.\d) international/,
    ([, nc, other, version]) =>
      ["cc-by", nc && "nc", other && (other.startsWith("-no") ? "nd" : "sa"), version].filter(Boolean).join("-"),
  ],
  [/cc0 1\.0 universal/, "cc0-1.0"],
  [/redistribution and use in source and binary forms.*neither the name/, "bsd-3-clause"],
  [/redistribution and use in source and binary forms/, "bsd-2-clause"],
  [/permission is hereby granted, free of charge.*without restriction/, "mit"],
  [/^(?:the )?mit license/, "mit"],
  [/this is free and unencumbered software released into the public domain/, "unlicense"],
];

/** Rules of conduct that come with a licence, as files of their own. */
const NO_LICENSE = /^.{0,80}(?:acceptable|prohibited) use policy/;
/** What no text says, in a list with others that say it. */
const UNKNOWN = "unknown";

/** The ids of the licences whose texts these are, with AND between them; null where nobody could say any. */
export function recognizeLicenses(texts: readonly string[]): string | null {
  const plain = texts.map((text) =>
    text
      .replace(/[\s*#=_>"“”]+/g, " ")
      .trim()
      .toLowerCase(),
  );
  const ids = plain.filter((text) => text !== "" && !NO_LICENSE.test(text)).map((text) => recognize(text) ?? UNKNOWN);
  const distinct = [...new Set(ids)];
  return distinct.every((id) => id === UNKNOWN) ? null : distinct.join(" AND ");
}

function recognize(text: string): string | null {
  for (const [pattern, id] of TEXTS) {
    const found = pattern.exec(text);
    if (found) return typeof id === "string" ? id : id(found);
  }
  return null;
}

function decimal(version = ""): string {
  return version.includes(".") ? version : `${version}.0`;
}
