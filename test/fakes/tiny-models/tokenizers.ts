/** What a tokenizer adds to a repository, and how many tokens the model must know for it. */
export interface Tokenizer {
  files: Record<string, string>;
  tokens: string[];
}

/** Lower-case WordPiece over single characters, as a BERT repository has it. */
export function wordPieceTokenizer(maxLength = 64): Tokenizer {
  const special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
  const characters = [..."abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"];
  const words = ["the", "and", "hello", "world", "model"];
  const tokens = [...special, ...characters, ...characters.map((character) => `##${character}`), ...words];
  const names = { pad: "[PAD]", unk: "[UNK]", cls: "[CLS]", sep: "[SEP]", mask: "[MASK]" };
  const named = Object.fromEntries(Object.entries(names).map(([name, token]) => [`${name}_token`, token]));
  const one = (id: string, type: number) => ({ SpecialToken: { id, type_id: type } });
  const sequence = (id: string, type: number) => ({ Sequence: { id, type_id: type } });
  const tokenizer = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special.map(addedToken),
    normalizer: {
      type: "BertNormalizer",
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: {
      type: "TemplateProcessing",
      single: [one("[CLS]", 0), sequence("A", 0), one("[SEP]", 0)],
      pair: [one("[CLS]", 0), sequence("A", 0), one("[SEP]", 0), sequence("B", 1), one("[SEP]", 1)],
      special_tokens: {
        "[CLS]": { id: "[CLS]", ids: [2], tokens: ["[CLS]"] },
        "[SEP]": { id: "[SEP]", ids: [3], tokens: ["[SEP]"] },
      },
    },
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: {
      type: "WordPiece",
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab: numbered(tokens),
    },
  };
  const config = { ...named, do_lower_case: true, model_max_length: maxLength, tokenizer_class: "BertTokenizer" };
  return {
    tokens,
    files: {
      "tokenizer.json": json(tokenizer),
      "tokenizer_config.json": json(config),
      "special_tokens_map.json": json(named),
      "vocab.txt": `${tokens.join("\n")}\n`,
    },
  };
}

/** Byte-level BPE without merges: small, and there is no text it cannot encode. */
export function byteLevelTokenizer(): Tokenizer {
  const special = ["<unk>", "<s>", "</s>"];
  const tokens = [...special, ...byteCharacters()];
  const named = { unk_token: "<unk>", bos_token: "<s>", eos_token: "</s>" };
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const tokenizer = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special.map(addedToken),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: "BPE", unk_token: null, byte_fallback: false, vocab: numbered(tokens), merges: [] },
  };
  const chat = "{% for message in messages %}<s>{{ message['role'] }}: {{ message['content'] }}</s>{% endfor %}";
  const config = {
    ...named,
    add_bos_token: true,
    chat_template: chat,
    model_max_length: 2048,
    tokenizer_class: "PreTrainedTokenizerFast",
  };
  return {
    tokens,
    files: {
      "tokenizer.json": json(tokenizer),
      "tokenizer_config.json": json(config),
      "special_tokens_map.json": json(named),
    },
  };
}

/** GPT-2's printable stand-ins for the 256 bytes. */
function byteCharacters(): string[] {
  const printable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  let spare = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : spare++));
}

function addedToken(content: string, id: number): object {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
}

function numbered(tokens: string[]): Record<string, number> {
  return Object.fromEntries(tokens.map((token, id) => [token, id]));
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
