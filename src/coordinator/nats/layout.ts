import { DiscardPolicy, RetentionPolicy, StorageType, type StreamConfig } from "@nats-io/jetstream";
import type { KV } from "@nats-io/kv";
import { MusterError } from "../../errors.ts";
import { unavailable } from "../stores/unavailable.ts";
import type { NatsLink } from "./link.ts";

/** What of NATS's storage this fleet has. */
export interface Layout {
  /** By job: how it stands. What it says is decided by the revision (compare and set). */
  state: KV;
  /** Inputs and answers too large to stand there, in pieces. */
  data: KV;
  tokens: KV;
  workers: KV;
  gateways: KV;
  /** Bytes that a message may have. */
  pieceBytes: number;
}

export interface LayoutTerms {
  jobRetentionMs: number;
  leaseMs: number;
  graceMs: number;
}

const DAY_MS = 86_400_000;
const WEEK_MS = 7 * DAY_MS;
const LEAST_PAYLOAD = 64 * 1024;
const MOST_PIECE = 512 * 1024;
/** What a message has beside a piece. */
const AROUND_BYTES = 8 * 1024;

/** Makes streams and buckets where they are missing. */
export async function openLayout(link: NatsLink, terms: LayoutTerms): Promise<Layout> {
  const { names, kvm, connection, replicas } = link;
  const maxPayload = connection.info?.max_payload ?? 0;
  if (maxPayload < LEAST_PAYLOAD) {
    throw new MusterError(
      "CONFIG_INVALID",
      `NATS takes messages of ${maxPayload} bytes only; at least 64 KiB is needed.`,
      {
        hint: "Set `max_payload: 1MB`, which is its default, or more in nats-server's configuration.",
      },
    );
  }
  return await link
    .ask(async () => {
      await stream(link, {
        name: names.called("JOBS"),
        subjects: [names.jobs()],
        retention: RetentionPolicy.Workqueue,
        // A job has one message, whoever publishes it, and when.
        discard: DiscardPolicy.New,
        ...{ max_msgs_per_subject: 1, discard_new_per_subject: true },
        // Of a gateway that died while it took a job in, before anybody was told that it is held.
        max_age: nanos(2 * DAY_MS),
      });
      await stream(link, {
        name: names.called("JOBINDEX"),
        subjects: [names.indexes()],
        retention: RetentionPolicy.Limits,
        discard: DiscardPolicy.New,
        ...{ max_msgs_per_subject: 1, discard_new_per_subject: true },
      });
      await stream(link, {
        name: names.called("DEAD"),
        subjects: [names.deads()],
        retention: RetentionPolicy.Limits,
        discard: DiscardPolicy.Old,
        max_age: nanos(WEEK_MS),
      });
      // Reads go to the leader: a replica that is behind could not tell a new job from none.
      const own = { replicas, history: 1, storage: StorageType.File, allow_direct: false };
      const lost = lostAfterMs(terms);
      return {
        state: await kvm.create(names.called("JOBSTATE"), own),
        data: await kvm.create(names.called("JOBDATA"), { ...own, ttl: terms.jobRetentionMs + 2 * DAY_MS }),
        tokens: await kvm.create(names.called("TOKENS"), { ...own, ttl: 2 * DAY_MS }),
        workers: await kvm.create(names.called("WORKERS"), { ...own, ttl: lost }),
        gateways: await kvm.create(names.called("GATEWAYS"), { ...own, ttl: lost }),
        pieceBytes: Math.min(MOST_PIECE, maxPayload - AROUND_BYTES),
      };
    })
    .catch((error: unknown) => {
      throw error instanceof MusterError ? error : unavailable("NATS could not make its streams", error);
    });
}

async function stream(link: NatsLink, config: Partial<StreamConfig> & { name: string }): Promise<void> {
  const { streams } = link.jsm;
  const whole = { ...config, storage: StorageType.File, num_replicas: link.replicas, allow_direct: true };
  const known = await streams.info(config.name).catch(() => null);
  // Another gateway may make it at the same time: the same configuration is no conflict.
  if (!known) await streams.add(whole);
}

/** For how long a worker, or a gateway, stays known that says nothing any more. */
export function lostAfterMs({ leaseMs, graceMs }: Pick<LayoutTerms, "leaseMs" | "graceMs">): number {
  return 4 * (leaseMs + graceMs);
}

export function nanos(ms: number): number {
  return ms * 1_000_000;
}
