import { setTimeout as sleep } from "node:timers/promises";
import { EXIT, MusterError } from "../errors.ts";
import { bytes } from "../fetch/progress-log.ts";
import { redactData } from "../redact.ts";
import type { Catalog } from "../select/worker-types.ts";
import { AuditReader, type AuditReading } from "../store/audit/audit-reader.ts";
import { AUDIT_ACTIONS, type AuditEntry } from "../store/audit/entry.ts";
import { createLayout } from "../store/layout.ts";
import { manifestKey } from "../store/manifest.ts";
import { catalogIfReadable } from "./catalog-models.ts";
import { print, table } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";

const LOOK_MS = 500;

export interface AuditOptions extends GlobalOptions {
  /** Milliseconds back from now, or of the clock (Date.now). */
  since?: { ago: number } | { at: number };
  model?: string;
  action?: string[];
  follow?: boolean;
}

/** `muster audit`: who did what to the volume, of all hosts, in the order of time. */
export async function audit(options: AuditOptions): Promise<number> {
  const { config, log } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const layout = createLayout(config.modelCacheDir, config.hfHubCache, config.ollamaModels);
  const { model } = options;
  const isNamed = model === undefined ? () => true : named(model, await catalogIfReadable(config, log));
  const isWanted = filter(options, isNamed);
  const reader = new AuditReader(layout.audit);
  const { follow = false } = options;
  const wanted = ({ entries, unreadable }: AuditReading) => ({ entries: entries.filter(isWanted), unreadable });
  const trail = await reader.next({ isLast: !follow });
  refuseUnknown(options.action ?? [], trail);
  if (!trail.entries.some(isNamed) && model !== undefined)
    process.stderr.write(`No entry of the trail names ${JSON.stringify(model)}.\n`);
  const first = wanted(trail);
  if (!follow) {
    print(first, options, () => told(first));
    return EXIT.ok;
  }
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
  for (let found = first; ; found = wanted(await reader.next())) {
    for (const entry of found.entries)
      process.stdout.write(`${options.json ? JSON.stringify(redactData(entry)) : lines([entry])}\n`);
    await sleep(LOOK_MS, undefined, { signal: stop.signal }).catch(() => undefined);
    if (stop.signal.aborted) return EXIT.ok;
  }
}

/** An action that a newer version has noted is known by that. */
function refuseUnknown(actions: readonly string[], { entries }: AuditReading): void {
  const known = new Set([...AUDIT_ACTIONS, ...entries.map(({ action }) => action)]);
  const unknown = actions.find((action) => !known.has(action));
  if (unknown === undefined) return;
  throw new MusterError("USAGE", `--action is ${JSON.stringify(unknown)}, which nothing on a volume is noted as.`, {
    hint: `Give --action one of: ${[...known].join(", ")}.`,
  });
}

function filter({ since, action }: AuditOptions, isNamed: (entry: AuditEntry) => boolean) {
  const from = since === undefined ? null : "at" in since ? since.at : Date.now() - since.ago;
  return (entry: AuditEntry) =>
    (from === null || Date.parse(entry.time) >= from) &&
    (action === undefined || action.includes(entry.action)) &&
    isNamed(entry);
}

function named(name: string, catalog: Catalog): (entry: AuditEntry) => boolean {
  const keys = new Set((catalog.models.get(name)?.variants ?? []).map(manifestKey));
  return ({ model }) => model !== null && (keys.has(model.key) || namesOf(model).includes(name));
}

function namesOf({ key, source, location, revision }: NonNullable<AuditEntry["model"]>): string[] {
  const names = [location, `${location}@${revision}`, `${location}@${revision.slice(0, 12)}`];
  return [key, ...names, ...names.map((name) => `${source}:${name}`)];
}

function told({ entries, unreadable }: AuditReading): string {
  const torn = unreadable === 0 ? [] : [`${unreadable} lines cannot be read: torn by a kill, or of another version`];
  return [...(entries.length > 0 ? [lines(entries)] : ["Nothing is recorded of that"]), ...torn].join("\n");
}

function lines(entries: readonly AuditEntry[]): string {
  return table(
    entries.map(({ time, action, model, files, bytes: size, from, to, why, who }) => [
      time.slice(0, 19).replace("T", " "),
      action.padEnd(8),
      model ? `${model.source}:${model.location}@${model.revision.slice(0, 12)}` : `${files || "what"} left behind`,
      model === null ? bytes(size) : files > 0 ? `${bytes(size)} in ${files} files` : "",
      [
        from.length > 0 ? `from ${from.join(", ")}` : "",
        to ? `to ${to}` : "",
        why ? `(${why})` : "",
        `by ${who.user}@${who.host}${who.worker ? `, ${who.worker}` : ""}${who.command ? `: ${who.command}` : ""}`,
      ]
        .filter((text) => text !== "")
        .join(" "),
    ]),
  );
}
