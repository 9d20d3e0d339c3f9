import { AckPolicy, DeliverPolicy, ReplayPolicy } from "@nats-io/jetstream";
import { createInbox, type Msg, type Subscription } from "@nats-io/transport-node";
import type { JobKind } from "../../model.ts";
import { nanos } from "./layout.ts";
import type { NatsLink } from "./link.ts";
import type { PriorityClass } from "./names.ts";

/** What the message of a job says; all else is in JOBSTATE. */
export interface JobMessage {
  id: string;
  origin: string;
  attended: boolean;
  deadlineAt: number;
}

/** A message that this gateway has pulled. */
export interface Delivery extends JobMessage {
  subject: string;
  sequence: number;
  /** How often it was delivered, to whomever. */
  deliveries: number;
  /** Where it is acknowledged. */
  ack: string;
}

/** A consumer that nobody asks for so long goes; its messages stay. */
const UNUSED_MS = 3_600_000;
/** How long a thorough look takes where there is nothing. */
const LOOK_MS = 20;
/** What went out only as the connection came back is answered by then. */
const LATE_MS = 500;
const ANSWER_MS = 3_000;

/** Takes messages of lanes out of the stream JOBS, by a consumer for each class and lane that all gateways share. */
export class Puller {
  readonly #link: NatsLink;
  readonly #ackWaitMs: number;
  readonly #consumers = new Set<string>();
  /** Pulls under way. */
  readonly #open = new Set<Subscription>();

  constructor(link: NatsLink, ackWaitMs: number) {
    this.#link = link;
    this.#ackWaitMs = ackWaitMs;
    link.onUp(() => {
      // Their requests are lost, unless they go out only now.
      const lost = [...this.#open];
      setTimeout(() => lost.forEach((messages) => void messages.unsubscribe()), LATE_MS).unref();
    });
  }

  /**
   * At most so many as wait there now; null where nobody said whether there are some. The server answers at once by its count
   * of what waits; `thorough`: it looks, in case the count is wrong.
   */
  async pull(
    { priority, ...lane }: { priority: PriorityClass; kind: JobKind; model: string },
    { most, thorough }: { most: number; thorough: boolean },
  ): Promise<Delivery[] | null> {
    const link = this.#link;
    const name = link.names.consumer(priority, lane);
    await this.#consumer(name, link.names.lane(priority, lane));
    const inbox = createInbox();
    const messages = link.connection.subscribe(inbox, { max: most + 1 });
    const timer = setTimeout(() => messages.unsubscribe(), ANSWER_MS);
    this.#open.add(messages);
    const next = `$JS.API.CONSUMER.MSG.NEXT.${link.names.called("JOBS")}.${name}`;
    const request = { batch: most, no_wait: true, ...(thorough && { expires: nanos(LOOK_MS) }) };
    link.connection.publish(next, JSON.stringify(request), { reply: inbox });
    const deliveries: Delivery[] = [];
    let isAnswered = false;
    for await (const message of messages) {
      // A status, which comes to the inbox itself: no more now, or no such consumer.
      if (message.subject === inbox) {
        isAnswered = message.headers?.code !== 503;
        if (!isAnswered) this.#consumers.delete(name);
        break;
      }
      deliveries.push(deliveryOf(message));
      if (deliveries.length === most) break;
    }
    clearTimeout(timer);
    this.#open.delete(messages);
    return isAnswered || deliveries.length > 0 ? deliveries : null;
  }

  async #consumer(name: string, filter: string): Promise<void> {
    if (this.#consumers.has(name)) return;
    const link = this.#link;
    await link.ask(() =>
      link.jsm.consumers.add(link.names.called("JOBS"), {
        durable_name: name,
        filter_subject: filter,
        ack_policy: AckPolicy.Explicit,
        deliver_policy: DeliverPolicy.All,
        replay_policy: ReplayPolicy.Instant,
        ack_wait: nanos(this.#ackWaitMs),
        // Attempts are counted in JOBSTATE.
        ...{ max_deliver: -1, max_ack_pending: -1 },
        inactive_threshold: nanos(UNUSED_MS),
      }),
    );
    this.#consumers.add(name);
  }
}

function deliveryOf(message: Msg): Delivery {
  // $JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>…, with domain and account before those where there are some.
  const tokens = message.reply!.split(".");
  const [deliveries, sequence] = tokens.length > 9 ? tokens.slice(6, 8) : tokens.slice(4, 6);
  const { subject, reply: ack } = message;
  return {
    ...message.json<JobMessage>(),
    ...{ subject, ack: ack!, deliveries: Number(deliveries), sequence: Number(sequence) },
  };
}
