/** HTTP clients refuse URLs with credentials; as a header they are the same. `href` has no slash at its end. */
export function withoutCredentials(text: string): { href: string; headers: Record<string, string> } {
  const url = new URL(text);
  const credentials = [url.username, url.password].map(decodeURIComponent).join(":");
  url.username = "";
  url.password = "";
  const headers: Record<string, string> = {};
  if (credentials !== ":") headers.authorization = `Basic ${Buffer.from(credentials).toString("base64")}`;
  return { href: url.href.replace(/\/+$/, ""), headers };
}
