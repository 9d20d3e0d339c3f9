import type { CoordinatorPayload, WorkerFrame } from "../../src/protocol.ts";
import { until } from "../until.ts";
import { type FakeCoordinator, type FakeSession, startFakeCoordinator, WELCOME } from "./fake-coordinator.ts";

type Welcome = Extract<CoordinatorPayload, { t: "welcome" }>;
type Offer = Extract<CoordinatorPayload, { t: "job.offer" }>;
type FrameOf<T extends WorkerFrame["t"]> = Extract<WorkerFrame, { t: T }>;

export interface JobSession extends FakeSession {
  hello: FrameOf<"hello">;
  /** Frames of this type so far, of one job where it is named. */
  all<T extends WorkerFrame["t"]>(type: T, jobId?: string): FrameOf<T>[];
  /** Waits until there are so many, and gives the last of them. */
  nth<T extends WorkerFrame["t"]>(type: T, count?: number, jobId?: string): Promise<FrameOf<T>>;
  offer(change?: Partial<Offer>): void;
}

export interface JobCoordinator extends FakeCoordinator {
  /** The session of that number once it is welcomed and has beaten. */
  session(number?: number): Promise<JobSession>;
}

export interface JobCoordinatorOptions {
  /** What the welcome says beyond the usual. */
  welcome?: (hello: FrameOf<"hello">, position: number) => Partial<Welcome>;
  /** The welcome waits for this. */
  gate?: (position: number) => Promise<unknown> | null;
  /** Beats are not acknowledged while this holds. */
  mute?: (position: number) => boolean;
  lost?: () => string[];
}

/** A coordinator that welcomes, keeps all jobs and acknowledges beats; everything else is up to the test. */
export async function startJobCoordinator({
  welcome = () => ({}),
  gate = () => null,
  mute = () => false,
  lost = () => [],
}: JobCoordinatorOptions = {}): Promise<JobCoordinator> {
  const peer = await startFakeCoordinator((session, frame, position) => {
    if (frame.t === "hello") {
      const resume = frame.jobs.map(({ jobId, cs }) => ({ jobId, verdict: "keep" as const, cs }));
      const send = () => session.send({ ...WELCOME, beatMs: 300, resume, ...welcome(frame, position) });
      const wait = gate(position);
      if (wait) void wait.then(send);
      else send();
    }
    if (frame.t === "beat" && !mute(position)) session.send({ t: "beat.ack", n: frame.n, lost: lost() });
  });
  return {
    ...peer,
    async session(number = 1) {
      const session = await until(`session ${number} beats`, () => {
        const found = peer.sessions[number - 1];
        return found?.frames.some(({ t }) => t === "beat") && found;
      });
      return jobSession(session);
    },
  };
}

function jobSession(session: FakeSession): JobSession {
  const all: JobSession["all"] = (type, jobId) =>
    session.frames.filter(
      (frame): frame is FrameOf<typeof type> =>
        frame.t === type && (jobId === undefined || ("jobId" in frame && frame.jobId === jobId)),
    );
  return {
    ...session,
    hello: session.frames[0] as FrameOf<"hello">,
    all,
    nth: (type, count = 1, jobId) => until(`${count} ${type} came`, () => all(type, jobId)[count - 1]),
    offer: (change) =>
      session.send({
        ...{ t: "job.offer", jobId: "job-1", attempt: 1, lease: "lease-1", kind: "chat", model: "tiny" },
        ...{ input: { messages: [] }, remainingMs: 60_000, stream: true },
        ...change,
      }),
  };
}
