import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { licenseObjection, licensePattern } from "../src/content-policy.ts";

const policy = (...allowed: string[]) => ({ allowed: allowed.map(licensePattern), refuse: true });
const isAllowed = (declared: string | null, found: string | null, ...allowed: string[]) =>
  licenseObjection("acme/tiny", { declared, found }, policy(...allowed)) === null;

describe("a licence", () => {
  it.each([
    ["MIT", "mit"],
    ["apache-2.0", "Apache-2.0"],
    ["llama3.1", "llama3*"],
    ["GPL-3.0-or-later", "gpl-3.0"],
    ["gpl-3.0", "GPL-3.0-only"],
    ["MIT OR GPL-3.0", "mit"],
    ["MIT AND cc-by-4.0", "mit", "cc-by-4.0"],
    ["(MIT AND isc) OR gpl-2.0", "gpl-2.0"],
    ["anything", "*"],
  ])("%s is allowed by %s", (license, ...allowed) => {
    expect(isAllowed(license, null, ...allowed)).toBe(true);
    expect(isAllowed(null, license, ...allowed)).toBe(true);
  });

  it.each([
    ["cc-by-nc-4.0", "cc-by-4.0"],
    ["mit", "mit-0"],
    ["MIT AND cc-by-nc-4.0", "mit"],
    ["mit AND unknown", "mit"],
    ["gpl-3.0", "lgpl-3.0"],
    ["AND", "mit"],
    ["", "mit"],
  ])("%s is not by %s", (license, ...allowed) => {
    expect(isAllowed(license, null, ...allowed)).toBe(false);
  });

  it("has to be allowed by both words, the catalog's and the source's", () => {
    expect(isAllowed("mit", "MIT", "mit")).toBe(true);
    expect(isAllowed("mit", "cc-by-nc-4.0", "mit")).toBe(false);
    expect(isAllowed("cc-by-nc-4.0", "mit", "mit")).toBe(false);
  });

  it("of one's own terms stands in place of the publisher's", () => {
    expect(isAllowed("LicenseRef-acme", "cc-by-nc-4.0", "mit", "LicenseRef-acme")).toBe(true);
    expect(isAllowed("LicenseRef-acme", "mit", "mit")).toBe(false);
    // A publisher cannot say so.
    expect(isAllowed("cc-by-nc-4.0", "LicenseRef-acme", "LicenseRef-*")).toBe(false);
  });

  it("that nobody says is unknown, and allowed where that is", () => {
    expect(isAllowed(null, null, "mit")).toBe(false);
    expect(isAllowed(null, null, "mit", "unknown")).toBe(true);
    expect(licenseObjection("x", { declared: null, found: null }, null)).toBeNull();
  });
});

it("refuses with what it found, what it wants, and what to do", () => {
  const error = licenseObjection("acme/tiny", { declared: "mit", found: "gemma" }, policy("mit", "apache-*"));
  expect(error).toMatchObject({
    code: "LICENSE_REFUSED",
    message: "acme/tiny is under gemma, which ALLOWED_LICENSES does not have (mit, apache-*).",
    hint: expect.stringContaining("add its id to ALLOWED_LICENSES"),
    details: { declared: "mit", found: "gemma" },
  });
  const unknown = licenseObjection("acme/tiny", { declared: null, found: null }, policy("mit"));
  expect(unknown?.message).toMatch(/^Neither the catalog nor the source says the licence of acme\/tiny/);
});

it("what nobody has listed is never allowed, whatever it is called", () => {
  const text = fc.string({ unit: "grapheme", maxLength: 40 });
  fc.assert(
    fc.property(text, (license) => {
      fc.pre(!/\bmit\b/i.test(license));
      expect(isAllowed(license, null, "mit")).toBe(false);
    }),
  );
});
