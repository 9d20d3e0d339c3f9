import * as z from "zod";
import { OCR_FORMATS, type OcrFormat } from "../../model.ts";
import type { JobLimits } from "../limits.ts";
import { check, invalidInput, tooLarge } from "./check.ts";
import { toImageUri } from "./image.ts";

/** What an ocr job asks for. */
export interface OcrInput {
  /** data: URIs, in order. */
  pages: string[];
  /** In place of ours. */
  prompt: string | null;
  format: OcrFormat;
  /** JSON Schema of what a page's answer shall be; with format json. */
  schema: Record<string, unknown> | null;
}

const fields = z.object({
  image: z.string().nullish(),
  pages: z.array(z.unknown()).min(1, "must hold at least one page").nullish(),
  prompt: z.string().nullish(),
  format: z.enum(OCR_FORMATS).nullish(),
  schema: z.looseObject({}).nullish(),
});

/** The input of an ocr job, or INVALID_INPUT; too many or too large pages are PAYLOAD_TOO_LARGE. */
export function readOcr(input: unknown, limits: Pick<JobLimits, "imageBytes" | "pages">): OcrInput {
  const { image, pages, prompt, format, schema } = check(fields, input);
  const given = [image, pages].filter((each) => each !== undefined && each !== null);
  if (given.length !== 1) throw invalidInput("image", "an ocr job takes image or pages, one of the two");
  if (schema && format !== "json") throw invalidInput("schema", "is taken with format json only");
  if (pages && pages.length > limits.pages) throw tooLarge("pages", `are more than ${limits.pages}`);
  return {
    pages: pages ? pages.map((page, index) => readPage(page, `pages.${index}`)) : [readPage(image, "image")],
    prompt: prompt || null,
    format: format ?? "text",
    schema: schema ?? null,
  };

  function readPage(page: unknown, field: string): string {
    return toImageUri(check(z.string(), page, field), { field, maxBytes: limits.imageBytes });
  }
}
