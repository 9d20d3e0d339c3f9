import { type Place, parsePlaces } from "./place.ts";
import { showValue } from "./redact.ts";

/** The places that HF_ENDPOINT names, best first; what of it is no place is added to the problems. */
export function readMirrors(given: string | undefined, problems: string[]): Place[] {
  const { places, invalid } = parsePlaces(given ?? "https://huggingface.co");
  const wrong = places.length + invalid.length === 0 ? [given ?? ""] : invalid;
  // A comma in a password would cut it in two; in the whole text it is found.
  const shown = wrong.map((text) => showValue(given && /[@?]/.test(given) ? given : text));
  const allowed = "http(s) URLs, s3://bucket/prefix, absolute paths or file:// URLs, with commas between them";
  problems.push(...shown.map((text) => `HF_ENDPOINT is ${text}; allowed: ${allowed}.`));
  return places;
}
