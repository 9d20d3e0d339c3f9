import { MusterError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { CoordinatorPayload } from "../../protocol.ts";
import type { WorkerDirectory } from "../backend.ts";
import { isUnavailable } from "../stores/unavailable.ts";
import type { Silence } from "../workers/evictions.ts";
import type { WorkerRegistry } from "../workers/worker-registry.ts";
import type { WorkerView } from "../workers/worker-view.ts";
import { listen } from "./bus.ts";
import { type Layout, lostAfterMs } from "./layout.ts";
import { isConflict, type NatsLink } from "./link.ts";
import { fromToken, toToken } from "./names.ts";
import type { Presence } from "./presence.ts";
import { watchBucket } from "./watch-bucket.ts";

/** What stands under a worker's key in WORKERS. */
interface Shared {
  gateway: string;
  bootId: string;
  /** Processes that lost this worker id, newest last. */
  superseded: string[];
  /** Null until its first beat there. */
  view: WorkerView | null;
}

interface Known extends Shared {
  id: string;
  revision: number;
  /** When its gateway had heard of it, as far as that was heard here; of the monotonic clock. */
  heardAt: number;
}

export interface SharedWorkersOptions {
  link: NatsLink;
  layout: Layout;
  gateway: string;
  registry: WorkerRegistry;
  presence: Presence;
  leaseMs: number;
  graceMs: number;
  log: Logger;
  workerChanged: (workerId: string) => void;
}

const SUPERSEDED_KEPT = 16;
/** A view is written no more often than this. */
const WRITE_MS = 250;
const COMMAND_MS = 2_000;

/** The workers of all gateways: those of this one from memory, all others as their gateways have written them last. */
export class SharedWorkers implements WorkerDirectory {
  readonly #options: SharedWorkersOptions;
  readonly #known = new Map<string, Known>();
  /** Workers of this gateway, as it has written them last. */
  readonly #own = new Map<string, Shared & { revision: number }>();
  readonly #changed = new Set<string>();
  readonly #timer: NodeJS.Timeout;
  readonly #endWatch: () => void;
  #upSince = performance.now();
  #writing = false;

  constructor(options: SharedWorkersOptions) {
    this.#options = options;
    const { link, layout, gateway, registry, log } = options;
    link.onUp(() => {
      this.#upSince = performance.now();
    });
    this.#endWatch = watchBucket(link, layout.workers, {
      log,
      entry: ({ key, operation, value, revision }) => {
        if (operation === "PUT")
          this.#hear(key, { ...(JSON.parse(Buffer.from(value).toString()) as Shared), revision });
        else if (this.#known.delete(key)) options.workerChanged(fromToken(key) ?? key);
      },
    });
    listen<{ workerId: string; payload: CoordinatorPayload }>(
      link,
      link.names.gateway(gateway, "command"),
      ({ workerId, payload }, message) => message.respond(JSON.stringify(registry.send(workerId, payload))),
    );
    this.#timer = setInterval(() => void this.#write(), WRITE_MS);
  }

  /** The worker is at this gateway now. Throws SUPERSEDED where a newer process has its id. */
  async claim({ workerId, bootId }: { workerId: string; bootId: string }): Promise<void> {
    const { link, layout, gateway } = this.#options;
    const key = toToken(workerId);
    await link.ask(async () => {
      for (;;) {
        const entry = await layout.workers.get(key);
        const before = entry?.operation === "PUT" ? entry.json<Shared>() : null;
        if (before?.superseded.includes(bootId)) throw superseded(workerId);
        const others = before && before.bootId !== bootId ? [...before.superseded, before.bootId] : before?.superseded;
        const shared: Shared = {
          ...{ gateway, bootId, superseded: others?.slice(-SUPERSEDED_KEPT) ?? [] },
          view: this.#options.registry.get(workerId),
        };
        try {
          const text = JSON.stringify(shared);
          const revision = await (entry
            ? layout.workers.update(key, text, entry.revision)
            : layout.workers.create(key, text));
          this.#own.set(workerId, { ...shared, revision });
          return;
        } catch (error) {
          if (!isConflict(error)) throw error;
        }
      }
    });
  }

  /** Its view may be another. */
  changed(workerId: string): void {
    if (this.#own.has(workerId)) this.#changed.add(workerId);
  }

  list(): WorkerView[] {
    const local = this.#options.registry.list();
    const here = new Set(local.map(({ id }) => id));
    return [
      ...local,
      ...[...this.#known.values()].flatMap((known) => (here.has(known.id) ? [] : (this.#shown(known) ?? []))),
    ];
  }

  get(id: string): WorkerView | null {
    const known = this.#known.get(toToken(id));
    return this.#options.registry.get(id) ?? (known ? this.#shown(known) : null);
  }

  async send(workerId: string, payload: CoordinatorPayload): Promise<boolean> {
    const { registry, link } = this.#options;
    if (registry.send(workerId, payload)) return true;
    const known = this.#known.get(toToken(workerId));
    if (!known || known.gateway === this.#options.gateway || !this.#shown(known)?.connected) return false;
    const subject = link.names.gateway(known.gateway, "command");
    const ask = () => link.connection.request(subject, JSON.stringify({ workerId, payload }), { timeout: COMMAND_MS });
    return await link.ask(ask).then(
      (answer) => answer.json<boolean>(),
      () => false,
    );
  }

  /** Of workers elsewhere nothing can be heard while NATS is away: nobody is silent by that. */
  silent(): Silence {
    const { registry, gateway, presence, link, leaseMs } = this.#options;
    const here = registry.silent();
    const latest = performance.now() - leaseMs;
    const others = [...this.#known.values()].filter((known) => known.gateway !== gateway && !registry.get(known.id));
    const silent = others.filter(
      (known) => link.isUp() && (Math.max(known.heardAt, this.#upSince) < latest || presence.isLost(known.gateway)),
    );
    return { silent: here.silent + silent.length, total: here.total + others.length };
  }

  /** Forgets workers that were lost with their gateways: nobody says so, not even NATS when their time is over. */
  sweep(): void {
    const { registry, link, workerChanged } = this.#options;
    if (!link.isUp()) return;
    const latest = performance.now() - lostAfterMs(this.#options);
    for (const [key, { id, heardAt }] of this.#known) {
      // Nobody could be heard before.
      if (Math.max(heardAt, this.#upSince) >= latest || registry.get(id)) continue;
      this.#known.delete(key);
      workerChanged(id);
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.#endWatch();
  }

  #shown({ view, gateway }: Known): WorkerView | null {
    if (!view) return null;
    const isThere = gateway === this.#options.gateway || !this.#options.presence.isGone(gateway);
    return isThere ? view : { ...view, connected: false, ready: false };
  }

  #hear(key: string, shared: Shared & { revision: number }): void {
    const { gateway, registry } = this.#options;
    const id = fromToken(key) ?? shared.view?.id ?? key;
    const before = this.#known.get(key);
    // Its gateway also tells that its socket is gone, and all is told again when the connection was away.
    const heardAt = before && isSame(before, shared) ? before.heardAt : performance.now();
    this.#known.set(key, { ...shared, id, heardAt });
    if (shared.gateway !== gateway) this.#options.workerChanged(id);
    const own = this.#own.get(id);
    if (!own || shared.gateway === gateway || shared.revision < own.revision) return;
    this.#own.delete(id);
    registry.lose(id, { sameProcess: shared.bootId === own.bootId });
  }

  async #write(): Promise<void> {
    const { link, log } = this.#options;
    if (this.#writing || !link.isUp()) return;
    this.#writing = true;
    const ids = [...this.#changed];
    this.#changed.clear();
    await Promise.all(
      ids.map((id) =>
        link
          .ask(() => this.#writeOne(id))
          .catch((error: unknown) => {
            if (isUnavailable(error)) this.#changed.add(id);
            else if (!isConflict(error)) log.error({ err: error, workerId: id }, "A worker's state could not be told");
          }),
      ),
    );
    this.#writing = false;
  }

  async #writeOne(id: string): Promise<void> {
    const { registry, layout } = this.#options;
    const own = this.#own.get(id);
    if (!own) return;
    const { revision, ...shared } = own;
    const view = registry.get(id);
    if (view) {
      own.revision = await layout.workers.update(toToken(id), JSON.stringify({ ...shared, view }), revision);
      return;
    }
    // It has said goodbye, or is forgotten.
    this.#own.delete(id);
    await layout.workers.delete(toToken(id), { previousSeq: revision });
  }
}

/** It has not been heard of in between. */
function isSame(before: Shared, now: Shared): boolean {
  const { view } = now;
  return before.view?.epoch === view?.epoch && before.view?.beats === view?.beats && before.bootId === now.bootId;
}

function superseded(workerId: string): MusterError {
  return new MusterError("SUPERSEDED", `A newer process runs under the worker id ${workerId}.`, {
    hint: "Give each worker its own WORKER_ID, or none: `docker run -e WORKER_ID= …`.",
  });
}
