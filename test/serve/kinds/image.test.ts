import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toImageUri } from "../../../src/serve/kinds/image.ts";
import { IMAGES, PNG } from "../images.ts";

const look = (image: string, maxBytes = 2 ** 20) => toImageUri(image, { field: "image", maxBytes });
const base64 = (text: string) => Buffer.from(text, "latin1").toString("base64");

describe("an image", () => {
  it.each(Object.entries(IMAGES))("of %s is known by its bytes", (type, bytes) => {
    const expected = `data:${type};base64,${bytes.toString("base64")}`;
    expect(look(bytes.toString("base64"))).toBe(expected);
    expect(look(`data:application/pdf;base64,${bytes.toString("base64")}`)).toBe(expected);
    expect(look(expected)).toBe(expected);
  });

  it("TIFF of the other byte order, and the older GIF", () => {
    expect(look(base64("MM\0*\0\0\0\x08"))).toMatch(/^data:image\/tiff;/);
    expect(look(base64("GIF87a"))).toMatch(/^data:image\/gif;/);
  });

  it.each<[string, string]>([
    ["nothing", ""],
    ["a PDF", base64("%PDF-1.7\n")],
    ["a web page", base64("<svg xmlns='http://www.w3.org/2000/svg'>")],
    ["a RIFF that is no WebP", base64("RIFF\x10\0\0\0AVI LIST")],
    ["two letters of a BMP", base64("BMW and other cars ...")],
    ["the begin of a PNG", base64("\x89PNG")],
    ["an address", "https://a/b.png"],
    ["a path", "/etc/passwd"],
    ["white space", `${PNG.slice(0, 8)}\n${PNG.slice(8)}`],
    ["the alphabet of URLs", `_-${PNG.slice(2)}`],
    ["a piece of base64", PNG.slice(0, -1)],
    ["padding in the middle", `AA==${PNG}`],
    ["a data: URI with more commas", `data:a,b;base64,${PNG}`],
  ])("is not %s", (_what, image) => {
    expect(() => look(image)).toThrow(expect.objectContaining({ code: "INVALID_INPUT" }));
  });

  it("over the bound is PAYLOAD_TOO_LARGE, and just under it is taken", () => {
    const png = (bytes: number) => Buffer.concat([IMAGES["image/png"]!, Buffer.alloc(bytes)]).subarray(0, bytes);
    expect(look(png(3 * 1024).toString("base64"), 3 * 1024)).toMatch(/^data:image\/png/);
    expect(() => look(png(3 * 1024 + 3).toString("base64"), 3 * 1024)).toThrow(
      expect.objectContaining({ code: "PAYLOAD_TOO_LARGE" }),
    );
    const large = png(30 * 2 ** 20).toString("base64");
    expect(look(large, 30 * 2 ** 20).length).toBe(large.length + "data:image/png;base64,".length);
  });

  it("is what it is, or INVALID_INPUT, whatever the text", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.base64String(),
          fc.string().map((text) => `data:${text}`),
        ),
        (text) => {
          try {
            expect(look(text)).toMatch(/^data:image\/\w+;base64,[\w+/]+={0,2}$/);
          } catch (error) {
            expect(error).toMatchObject({ code: "INVALID_INPUT" });
          }
        },
      ),
    );
  });
});
