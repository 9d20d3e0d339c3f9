import { isAbsolute, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { isUrl } from "./settings/values.ts";

/** Where models are had from or taken to: a hub, a bucket, a folder. */
export type Place = { kind: "hub"; endpoint: string } | BucketPlace | FolderPlace;

export interface BucketPlace {
  kind: "s3";
  bucket: string;
  /** Without slashes at its ends; empty for the whole bucket. */
  prefix: string;
}

export interface FolderPlace {
  kind: "path";
  /** Absolute. */
  path: string;
}

/** The place that a text names: an http(s) URL, s3://bucket/prefix, file:///folder or /folder. Null for anything else. */
export function parsePlace(text: string): Place | null {
  if (text.startsWith("s3:")) return parseBucket(text);
  if (text.startsWith("/") || text.startsWith("file:")) return parseFolder(text);
  return isUrl(text, ["http:", "https:"]) ? { kind: "hub", endpoint: text.replace(/\/+$/, "") } : null;
}

/** A list of places with commas between them, each once, in order. Also gives what of it is no place. */
export function parsePlaces(text: string): { places: Place[]; invalid: string[] } {
  const places = new Map<string, Place>();
  const invalid: string[] = [];
  for (const item of text.split(",").map((piece) => piece.trim())) {
    if (item === "") continue;
    const place = parsePlace(item);
    if (place) places.set(showPlace(place), place);
    else invalid.push(item);
  }
  return { places: [...places.values()], invalid };
}

/** As {@link parsePlace} takes it. */
export function showPlace(place: Place): string {
  if (place.kind === "hub") return place.endpoint;
  return place.kind === "s3" ? `s3://${[place.bucket, place.prefix].filter(Boolean).join("/")}` : place.path;
}

export function parseBucket(text: string): BucketPlace | null {
  // Buckets are named by DNS labels; some servers allow capitals and underscores.
  const [, bucket, prefix = ""] = /^s3:\/\/([A-Za-z0-9][\w.-]{1,62})(\/.*)?$/s.exec(text) ?? [];
  if (bucket === undefined) return null;
  const parts = prefix.split("/").filter((part) => part !== "");
  return parts.some((part) => part === "." || part === "..") ? null : { kind: "s3", bucket, prefix: parts.join("/") };
}

export function parseFolder(text: string): FolderPlace | null {
  try {
    const path = text.startsWith("file:") ? fileURLToPath(text) : text;
    return isAbsolute(path) ? { kind: "path", path: resolve(path) } : null;
  } catch {
    return null;
  }
}
