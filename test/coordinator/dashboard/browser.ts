import { existsSync } from "node:fs";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";

/** Debian's, which takes part in its security updates; playwright-core brings none. */
export const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
export const CHROMIUM_MISSING = !existsSync(CHROMIUM);

export function launch(): Promise<Browser> {
  // Root has no sandbox, and containers little of /dev/shm.
  const args = ["--disable-dev-shm-usage", ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])];
  return chromium.launch({ executablePath: CHROMIUM, args });
}

/** A page, and all that it complained of. */
export interface Visit extends AsyncDisposable {
  page: Page;
  context: BrowserContext;
  complaints: string[];
}

export interface VisitOptions {
  width?: number;
  height?: number;
  scheme?: "light" | "dark";
}

/** A tab in a profile of its own. */
export async function visit(
  browser: Browser,
  { width = 1280, height = 800, scheme }: VisitOptions = {},
): Promise<Visit> {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, locale: "en-GB" });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  return { page, context, complaints, [Symbol.asyncDispose]: () => context.close() };
}
