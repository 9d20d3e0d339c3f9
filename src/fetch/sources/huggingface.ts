import { posix } from "node:path";
import * as z from "zod";
import { type MusterError, toMusterError } from "../../errors.ts";
import type { Architecture, FileSpec } from "../../model.ts";
import { type AskOptions, ask, askStart } from "../ask.ts";
import type { HttpSubject } from "../http-errors.ts";
import { cardSchema, licenseOf, type ModelCard, readConfigCard, readReadme, taskOf } from "../model-card.ts";
import type { Origin } from "../origin.ts";
import { readArchitecture } from "../read-architecture.ts";
import { ggufHead, readGgufStart } from "../read-gguf.ts";
import { authorization, type HubEndpoint, hubFetch, invalidAnswer, resolveUrl, subjectOf } from "./hub-api.ts";
import { isSafePath } from "./safe-path.ts";

/** Asks a Hugging Face hub (or what keeps its contract) about models. The library lists and describes; bytes are fetched by our own engine. */

type RepoCard = Omit<ModelCard, "quantization">;

export interface RepoDescription {
  /** 40 hex digits. */
  commit: string;
  files: FileSpec[];
  card: RepoCard | null;
}

const commitId = z.string().regex(/^[0-9a-f]{40}$/);
const hex = z
  .string()
  .regex(/^[0-9a-f]+$/i)
  .toLowerCase();
const treeEntry = z.object({
  type: z.string(),
  path: z.string(),
  size: z.int().nonnegative(),
  oid: hex.optional(),
  lfs: z.object({ oid: hex.length(64), size: z.int().nonnegative() }).optional(),
});

/** The commit a revision stands for, its files with sizes and digests, and what the hub said of the repository on the way. */
export async function describeRepo(
  repo: string,
  revision: string,
  hub: HubEndpoint,
  options: AskOptions,
): Promise<RepoDescription> {
  const subject = subjectOf(repo, hub);
  const isPinned = commitId.safeParse(revision).success;
  const { commit, card } = isPinned ? { commit: revision, card: null } : await askInfo(repo, revision, hub, options);
  const fetch = hubFetch(hub, subject, options, z.array(z.unknown()));
  const { listFiles } = await import("./hub-library.ts");
  const files = new Map<string, FileSpec>();
  for await (const entry of listFiles({ repo, recursive: true, revision: commit, hubUrl: hub.endpoint, fetch })) {
    const file = toFileSpec(entry, subject);
    if (!file) continue;
    // Also what ends a listing whose pages lead in a circle.
    if (files.has(file.path)) throw invalidAnswer(subject.page, `the path ${JSON.stringify(file.path)} twice`);
    files.set(file.path, file);
  }
  for (const path of files.keys()) {
    for (let folder = posix.dirname(path); folder !== "."; folder = posix.dirname(folder)) {
      if (files.has(folder)) throw invalidAnswer(subject.page, `both a file and a folder ${JSON.stringify(folder)}`);
    }
  }
  return { commit, files: [...files.values()], card };
}

/** Bytes; a larger one is neither a configuration nor a card. */
const LARGEST_TEXT = 1 << 20;

/** The hub as a place that models come from. */
export function huggingFaceOrigin(hub: HubEndpoint): Origin {
  return {
    name: new URL(hub.endpoint).host,
    async describe({ location, revision, format }, options) {
      const { commit, files, card } = await describeRepo(location, revision, hub, options);
      const subject = subjectOf(location, hub);
      const urlOf = ({ path }: FileSpec) => resolveUrl(hub.endpoint, location, commit, path);
      const textOf = async (name: string): Promise<string | null> => {
        const file = files.find(({ path, size }) => path === name && size <= LARGEST_TEXT);
        if (!file) return null;
        return (await options.readStored(file)) ?? (await ask(urlOf(file), subject, options, authorization(hub))).text;
      };
      const architectureOf = async (config: string | null): Promise<Architecture | null> => {
        if (config !== null) return readArchitecture(config);
        const gguf = ggufHead(files);
        if (format !== "gguf" || !gguf) return null;
        return readGgufStart(gguf.size, (length) =>
          askStart(urlOf(gguf), length, subject, options, authorization(hub)),
        );
      };
      // Of a pinned commit nothing but its files was asked for, and its own card says what held then.
      const cardOf = async (): Promise<RepoCard> => {
        if (card) return card;
        const info = options.onClosed ? (await askInfo(location, revision, hub, options)).card : null;
        const { license, task } = readReadme(await unlessClosed(textOf("README.md"), () => undefined));
        const { gated = false } = info ?? {};
        return { license: license ?? info?.license ?? null, gated, task: info?.task ?? task };
      };
      const said = await cardOf();
      const config = await (options.onClosed
        ? unlessClosed(textOf("config.json"), options.onClosed)
        : textOf("config.json"));
      const { quantization, task } = readConfigCard(config);
      return {
        ...{ revision: commit, files, manifest: null, architecture: await architectureOf(config) },
        card: { ...said, task: said.task ?? task, quantization },
      };
    },
    async locate({ location }, revision, { path }) {
      return {
        kind: "http",
        url: resolveUrl(hub.endpoint, location, revision, path),
        authorization: authorization(hub).authorization ?? null,
        page: subjectOf(location, hub).page,
        signed: false,
      };
    },
    async fallback({ location }, revision, file, options) {
      const { xetStream } = await import("./xet.ts");
      return xetStream({ repo: location, commit: revision, file }, hub, options);
    },
  };
}

/** Lists are open to everybody, files of gated repositories are not. */
async function unlessClosed(
  text: Promise<string | null>,
  onClosed: (error: MusterError) => void,
): Promise<string | null> {
  try {
    return await text;
  } catch (cause) {
    const error = toMusterError(cause);
    if (error.retryable) throw error;
    onClosed(error);
    return null;
  }
}

async function askInfo(repo: string, revision: string, hub: HubEndpoint, options: AskOptions) {
  const fetch = hubFetch(hub, subjectOf(repo, hub), options, z.object({}));
  const { modelInfo } = await import("./hub-library.ts");
  const additionalFields = ["sha", "cardData"] as const;
  const info = await modelInfo({
    name: repo,
    revision,
    hubUrl: hub.endpoint,
    additionalFields: [...additionalFields],
    fetch,
  });
  const parsed = commitId.safeParse(info.sha);
  if (!parsed.success) throw invalidAnswer(hub.endpoint, `no commit for revision ${revision} of ${repo}`);
  const written = cardSchema.parse(info.cardData ?? {});
  const card = {
    license: licenseOf(written),
    gated: Boolean(info.gated),
    task: taskOf(info.task ?? written.pipeline_tag),
  };
  return { commit: parsed.data, card };
}

function toFileSpec(entry: unknown, subject: HttpSubject): FileSpec | null {
  const parsed = treeEntry.safeParse(entry);
  if (!parsed.success)
    throw invalidAnswer(subject.page, `a file entry that is not one: ${JSON.stringify(entry)?.slice(0, 120)}`);
  const { type, path, size, oid, lfs } = parsed.data;
  if (type !== "file") return null;
  if (!isSafePath(path)) throw invalidAnswer(subject.page, `a path that leads outside: ${JSON.stringify(path)}`);
  if (lfs) return { path, size: lfs.size, digest: { algorithm: "sha256", hex: lfs.oid } };
  if (oid?.length !== 40) throw invalidAnswer(subject.page, `no digest for ${path}`);
  return { path, size, digest: { algorithm: "git-sha1", hex: oid } };
}
