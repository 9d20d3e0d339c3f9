import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Place, parsePlace, parsePlaces, showPlace } from "../src/place.ts";

describe("a place", () => {
  it.each<[string, Place | null]>([
    ["https://hub.example/", { kind: "hub", endpoint: "https://hub.example" }],
    ["http://10.0.0.1:8080/hub", { kind: "hub", endpoint: "http://10.0.0.1:8080/hub" }],
    ["s3://models", { kind: "s3", bucket: "models", prefix: "" }],
    ["s3://models/", { kind: "s3", bucket: "models", prefix: "" }],
    ["s3://my.models_1/a//b c/ü/", { kind: "s3", bucket: "my.models_1", prefix: "a/b c/ü" }],
    ["/mnt/nfs/models/", { kind: "path", path: "/mnt/nfs/models" }],
    ["/mnt/../data", { kind: "path", path: "/data" }],
    ["file:///mnt/my%20models", { kind: "path", path: "/mnt/my models" }],
    ["s3://", null],
    ["s3:///prefix", null],
    ["s3://-bucket/x", null],
    ["s3://bucket/../other", null],
    ["s3:bucket", null],
    ["file://host/models", null],
    ["models", null],
    ["./models", null],
    ["hub.example", null],
    ["ftp://hub.example", null],
    ["", null],
  ])("%s", (text, place) => {
    expect(parsePlace(text)).toEqual(place);
  });
});

describe("a list of places", () => {
  const label = fc.stringMatching(/^[a-z][a-z0-9]{2,10}$/);
  const segments = fc.array(fc.stringMatching(/^[\w-][\w.-]{0,8}$/), { maxLength: 3 });
  const place: fc.Arbitrary<Place> = fc.oneof(
    label.map((host) => ({ kind: "hub" as const, endpoint: `https://${host}` })),
    fc.tuple(label, segments).map(([bucket, path]) => ({ kind: "s3" as const, bucket, prefix: path.join("/") })),
    segments.map((path) => ({ kind: "path" as const, path: `/${path.join("/")}` })),
  );
  const gap = fc.stringMatching(/^ {0,2}(, ?){0,2}$/);

  it("is read as it was written, whatever blanks and commas are between", () => {
    fc.assert(
      fc.property(fc.uniqueArray(place, { selector: showPlace }), gap, (places, blank) => {
        const text = places.map((each) => `${blank}${showPlace(each)} `).join(",");
        expect(parsePlaces(text)).toEqual({ places, invalid: [] });
      }),
    );
  });

  it("names each place once, in the order of first mention", () => {
    fc.assert(
      fc.property(fc.array(place), (places) => {
        const text = [...places, ...places].map(showPlace).join(",");
        expect(parsePlaces(text).places.map(showPlace)).toEqual([...new Set(places.map(showPlace))]);
      }),
    );
  });

  it("never throws, and loses nothing", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.string(), place.map(showPlace))), (items) => {
        const { places, invalid } = parsePlaces(items.join(","));
        const said = items
          .join(",")
          .split(",")
          .filter((item) => item.trim() !== "").length;
        expect(places.length + invalid.length).toBeLessThanOrEqual(said);
        expect(places.length > 0 || invalid.length > 0).toBe(said > 0);
      }),
    );
  });
});
