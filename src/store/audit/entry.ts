import * as z from "zod";
import type { FileSpec, StoredModel } from "../../model.ts";

/** What is done to a volume, in the words of the commands. */
export const AUDIT_ACTIONS = [
  "fetched",
  "repaired",
  "updated",
  "imported",
  "exported",
  "pushed",
  "archived",
  "removed",
  "pruned",
  "swept",
  "pinned",
  "unpinned",
  "locked",
  "unlocked",
] as const;
export type AuditAction = (typeof AUDIT_ACTIONS)[number];

/** Who did it. */
const actorSchema = z.object({
  /** A name, or a number where /etc/passwd has none. */
  user: z.string(),
  host: z.string(),
  /** As `docker ps --no-trunc` shows it; null on a host. */
  container: z.string().nullable(),
  /** The worker whose state directory this process shares. */
  worker: z.string().nullable(),
  /** First word of the command line: `start`, `sync`, `remove` … */
  command: z.string().nullable(),
  pid: z.number(),
});
export type AuditActor = z.output<typeof actorSchema>;

/** A line of the trail. Actions of newer versions are read as well. */
export const auditEntrySchema = z.object({
  formatVersion: z.literal(1),
  /** RFC 3339, by the clock of the host that wrote it. */
  time: z.string(),
  action: z.string(),
  model: z
    .object({ key: z.string(), source: z.string(), location: z.string(), revision: z.string() })
    // What was left behind belongs to none.
    .nullable(),
  /** Files and bytes that were moved or taken away, not always all of the model. */
  files: z.number(),
  bytes: z.number(),
  /** `sha256:… path`, of at most {@link MOST_DIGESTS} of the files. */
  digests: z.array(z.string()),
  /** Places they came from. */
  from: z.array(z.string()),
  /** Where they went, if not onto the volume. */
  to: z.string().nullable(),
  why: z.string().nullable(),
  who: actorSchema,
});
export type AuditEntry = z.output<typeof auditEntrySchema>;

/** What is noted; the rest the trail knows. */
export interface AuditEvent {
  action: AuditAction;
  model: Pick<StoredModel, "key" | "source" | "location" | "revision"> | null;
  files: readonly FileSpec[];
  /** Of the files, where it is not their sum. */
  bytes?: number;
  from?: readonly string[];
  to?: string;
  why?: string;
}

/** A line stays small enough to be written in one go. */
export const MOST_DIGESTS = 100;

export function toEntry({ action, model, files, bytes, from = [], to, why }: AuditEvent, who: AuditActor): AuditEntry {
  return {
    formatVersion: 1,
    time: new Date().toISOString(),
    action,
    model: model && { key: model.key, source: model.source, location: model.location, revision: model.revision },
    files: files.length,
    bytes: bytes ?? files.reduce((sum, { size }) => sum + size, 0),
    digests: files.slice(0, MOST_DIGESTS).map(({ digest, path }) => `${digest.algorithm}:${digest.hex} ${path}`),
    from: [...new Set(from)],
    to: to ?? null,
    why: why ?? null,
    who,
  };
}
