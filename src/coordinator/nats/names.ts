import { createHash } from "node:crypto";
import { JOB_KINDS, type JobKind } from "../../model.ts";
import type { JobRecord } from "../jobs/job-record.ts";

/** Longer ones are told apart by their digest: a subject has to fit into a line of NATS's protocol (4 KiB). */
const LONGEST_TOKEN = 600;
/** Stands for no client; no text is encoded like this. */
const NOBODY = "=n";

/**
 * Any text as one token of a subject, or key: letters, digits, "-" and "_" stand for themselves, all else for its bytes of
 * UTF-8 as =XX, half a surrogate pair as =uXXXX. What would be too long is =h and its sha256.
 */
export function toToken(text: string): string {
  const token = Array.from(text, encoded).join("") || "=";
  return token.length > LONGEST_TOKEN ? `=h${createHash("sha256").update(token).digest("hex")}` : token;
}

/** The text of a token; null where that cannot be had back. */
export function fromToken(token: string): string | null {
  if (token === "=") return "";
  if (token.startsWith("=h") || token === NOBODY) return null;
  const bytes = /((?:=[0-9A-F]{2})+)|=u([0-9a-f]{4})/g;
  return token.replace(bytes, (_all, utf8: string | undefined, unit: string | undefined) =>
    utf8 ? Buffer.from(utf8.replaceAll("=", ""), "hex").toString() : String.fromCharCode(Number.parseInt(unit!, 16)),
  );
}

function encoded(character: string): string {
  if (/^[A-Za-z0-9_-]$/.test(character)) return character;
  if (!character.isWellFormed()) return `=u${character.charCodeAt(0).toString(16)}`;
  return Buffer.from(character).toString("hex").toUpperCase().replace(/../g, "=$&");
}

/** JetStream knows no priorities: jobs of a higher class go first, those of one class as they came. */
export const CLASSES = ["high", "normal", "low"] as const;
export type PriorityClass = (typeof CLASSES)[number];

export function classOf(priority: number): PriorityClass {
  if (priority === 0) return "normal";
  return priority > 0 ? "high" : "low";
}

export interface Lane {
  kind: JobKind;
  model: string;
}

/** How streams, buckets and subjects are called; the prefix keeps fleets apart that share a server. */
export class Names {
  readonly prefix: string;

  constructor(prefix: string) {
    this.prefix = prefix;
  }

  /** Of a stream or a bucket. */
  called(name: "JOBS" | "JOBSTATE" | "JOBDATA" | "JOBINDEX" | "DEAD" | "TOKENS" | "WORKERS" | "GATEWAYS"): string {
    return `${this.prefix}_${name}`;
  }

  jobs(): string {
    return `${this.prefix}.jobs.>`;
  }

  job({ id, client, priority, kind, model }: Pick<JobRecord, "id" | "client" | "priority" | "kind" | "model">): string {
    return `${this.#lane(classOf(priority), { kind, model })}.${client === null ? NOBODY : toToken(client)}.${toToken(id)}`;
  }

  /** Of a job's subject. */
  kindOf(subject: string): JobKind | null {
    const kind = subject.slice(this.prefix.length).split(".", 4)[3];
    return JOB_KINDS.find((each) => each === kind) ?? null;
  }

  /** All jobs of a lane. */
  lane(priority: PriorityClass, lane: Lane): string {
    return `${this.#lane(priority, lane)}.*.*`;
  }

  /** All waiting or running jobs of a client. */
  clientJobs(client: string): string {
    return `${this.prefix}.jobs.*.*.*.${toToken(client)}.*`;
  }

  consumer(priority: PriorityClass, { kind, model }: Lane): string {
    return `${priority}-${kind}-${createHash("sha256").update(model).digest("hex").slice(0, 32)}`;
  }

  index({ id, client }: { id: string; client: string | null }): string {
    return `${this.prefix}.index.${client === null ? NOBODY : toToken(client)}.${toToken(id)}`;
  }

  indexOf(id: string): string {
    return `${this.prefix}.index.*.${toToken(id)}`;
  }

  indexes(): string {
    return `${this.prefix}.index.>`;
  }

  dead({ kind, model, id }: Pick<JobRecord, "kind" | "model" | "id">): string {
    return `${this.prefix}.dead.${kind}.${toToken(model)}.${toToken(id)}`;
  }

  deads(): string {
    return `${this.prefix}.dead.>`;
  }

  /** What gateways tell each other: all of them. */
  everyone(what: "work" | "joined" | "cancel" | "slow"): string {
    return `${this.prefix}.all.${what}`;
  }

  /** One of them. */
  gateway(id: string, what: "command" | "check"): string {
    return `${this.prefix}.gateway.${id}.${what}`;
  }

  /** Those that follow a job. */
  followers(jobId: string, what: "event" | "place"): string {
    return `${this.prefix}.job.${toToken(jobId)}.${what}`;
  }

  #lane(priority: PriorityClass, { kind, model }: Lane): string {
    return `${this.prefix}.jobs.${priority}.${kind}.${toToken(model)}`;
  }
}
