import { invalidInput, tooLarge } from "./check.ts";

type Bytes = Buffer<ArrayBuffer>;
const startsWith = (text: string) => (head: Bytes) => head.toString("latin1", 0, text.length) === text;

/** What an image is by its first bytes; what a sender says it is counts for nothing. */
const FORMATS: [type: string, is: (head: Bytes) => boolean][] = [
  ["image/png", startsWith("\x89PNG\r\n\x1a\n")],
  ["image/jpeg", startsWith("\xff\xd8\xff")],
  ["image/webp", (head) => startsWith("RIFF")(head) && head.toString("latin1", 8, 12) === "WEBP"],
  ["image/gif", (head) => startsWith("GIF87a")(head) || startsWith("GIF89a")(head)],
  // Two letters are little to go by: the size of the second header has to be one that exists.
  ["image/bmp", (head) => startsWith("BM")(head) && [12, 40, 52, 56, 64, 108, 124].includes(head.readUInt32LE(14))],
  ["image/tiff", (head) => startsWith("II*\0")(head) || startsWith("MM\0*")(head)],
];
const HEAD_BYTES = 18;

/** `data:[type][;parameters];base64,`; a comma in what comes before it is not allowed for. */
const DATA_URI = /^data:([^,]{0,200});base64,/i;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

/**
 * An image, as a data: URI or the base64 of its bytes, as a data: URI with the type that its bytes show. Anything that
 * an engine might fetch or open, an address or a file name, is refused. `field` is for INVALID_INPUT, PAYLOAD_TOO_LARGE.
 */
export function toImageUri(image: string, { field, maxBytes }: { field: string; maxBytes: number }): string {
  const base64 = image.slice(DATA_URI.exec(image)?.[0].length ?? 0);
  if (base64.length > Math.ceil(maxBytes / 3) * 4) {
    throw tooLarge(field, `the image is larger than ${Math.floor(maxBytes / 2 ** 20)} MiB`);
  }
  if (base64.length % 4 !== 0 || !BASE64.test(base64)) {
    throw invalidInput(field, "must hold the image's bytes in base64; addresses and file names are not followed");
  }
  const head = Buffer.alloc(HEAD_BYTES);
  head.write(base64.slice(0, (HEAD_BYTES / 3) * 4), "base64");
  const type = FORMATS.find(([, is]) => is(head))?.[0];
  if (!type) throw invalidInput(field, "the bytes are not those of a PNG, JPEG, WebP, GIF, BMP or TIFF image");
  return `data:${type};base64,${base64}`;
}

/** As {@link toImageUri}, for where only a data: URI may stand. */
export function toCheckedUri(uri: string, options: { field: string; maxBytes: number }): string {
  if (!DATA_URI.test(uri)) {
    throw invalidInput(options.field, "must be a data: URI with base64; addresses and file names are not followed");
  }
  return toImageUri(uri, options);
}
