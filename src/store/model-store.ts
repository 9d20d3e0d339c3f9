import { join } from "node:path";
import type { FileSpec, Source, StoredModel } from "../model.ts";
import { unpublishFolder } from "./folder-removal.ts";
import { folderOf, publishFolder } from "./folder-store.ts";
import { prepareRepo, publishSnapshot, readRef, writeRef } from "./hub-cache.ts";
import { unpublishSnapshot } from "./hub-removal.ts";
import type { Layout } from "./layout.ts";
import { hasLocalDir, hideLocalDir, showLocalDir } from "./local-dirs.ts";
import { makeFolder } from "./make-folder.ts";
import { fullName } from "./ollama-name.ts";
import { unpublishManifest } from "./ollama-removal.ts";
import { keepBlobs, publishManifest, readManifestDigest } from "./ollama-store.ts";

/** A model in one revision, as its store is asked about it. */
export type ModelAt = Pick<StoredModel, "location" | "requestedRevision" | "revision">;

/** How models of one source stand on the volume: laid out as the engines that load them expect. */
export interface ModelStore {
  /** Where its free space is asked for. */
  readonly root: string;
  /** Held by who writes a model. */
  leaseName(location: string): string;
  /** What the paths of a record's files are relative to. */
  path(model: ModelAt): string;
  /** Folder of unfinished files, from which a rename gives them their names. */
  ingest(location: string): string;
  /** Where the content of a file gets its name once its digest is right. */
  blob(model: ModelAt, file: FileSpec): string;
  /** Lock that other tools hold while they fetch this file; null where there are none. */
  toolLock(model: ModelAt, file: FileSpec): string | null;
  prepare(model: ModelAt): Promise<void>;
  /**
   * Makes the model visible, all its files being in place. `manifest`: the source's own text, where it is stored too.
   * Gives what the model consists of now: the files, and the manifest where it is one.
   */
  publish(
    model: ModelAt,
    files: readonly FileSpec[],
    manifest: string | null,
    signal?: AbortSignal,
  ): Promise<readonly FileSpec[]>;
  /** Makes a revision whole that is not the model's, its files being in place. Nothing shows it. */
  keep(model: ModelAt, files: readonly FileSpec[], signal?: AbortSignal): Promise<void>;
  /** What comes after our own record. */
  finish(model: ModelAt): Promise<void>;
  /**
   * Takes a model away whose record is gone: first what shows it, then what no record of `kept` needs. Under the model's
   * lease; it may be begun again after a kill.
   */
  unpublish(removed: StoredModel, kept: readonly StoredModel[], signal: AbortSignal): Promise<void>;
  /** False where a kill came before `finish`. */
  isFinished(model: ModelAt): Promise<boolean>;
}

export function storeOf(layout: Layout, source: Source): ModelStore {
  if (source === "huggingface") return hubStore(layout);
  return source === "ollama" ? ollamaStore(layout) : folderStore(layout, source);
}

function hubStore(layout: Layout): ModelStore {
  const { hub, local } = layout;
  return {
    root: hub.root,
    leaseName: (location) => `huggingface:${location}`,
    path: ({ location, revision }) => hub.snapshot(location, revision),
    ingest: (location) => hub.ingest(location),
    blob: ({ location }, { digest }) => hub.blob(location, digest),
    toolLock: ({ location }, { digest }) => hub.lock(location, digest),
    prepare: ({ location }) => prepareRepo(hub, location),
    async publish({ location, revision }, files) {
      await publishSnapshot(hub, location, revision, files);
      return files;
    },
    keep: ({ location, revision }, files) => publishSnapshot(hub, location, revision, files),
    async finish(model) {
      const { location, requestedRevision, revision } = model;
      await writeRef(hub, location, requestedRevision, revision);
      await showLocalDir(layout, model);
    },
    async unpublish(removed, kept, signal) {
      const { source, location } = removed;
      const others = kept.filter((each) => each.source === source && each.location === location && !each.kept);
      const latest = others.toSorted((a, b) => (a.storedAt < b.storedAt ? 1 : -1))[0];
      if (!latest) await hideLocalDir(layout, location);
      await unpublishSnapshot(hub, removed, kept, signal);
      if (latest) await showLocalDir(layout, latest);
    },
    isFinished: async ({ location, requestedRevision, revision }) =>
      (requestedRevision === revision || (await readRef(hub, location, requestedRevision)) !== null) &&
      (!local.isWanted || (await hasLocalDir(layout, location))),
  };
}

function ollamaStore({ ollama }: Layout): ModelStore {
  return {
    root: ollama.root,
    leaseName: (location) => `ollama:${fullName(location)}`,
    path: () => ollama.root,
    ingest: (location) => ollama.ingest(location),
    blob: (_model, { path }) => ollama.file(path),
    toolLock: () => null,
    prepare: ({ location }) => makeFolder(ollama.ingest(location)),
    async publish({ location, revision }, files, manifest, signal) {
      if (manifest === null) throw new Error(`${location} at ${revision} has no manifest`);
      return [...files, await publishManifest(ollama, location, { blobs: files, text: manifest, signal })];
    },
    keep: ({ location }, files, signal) => keepBlobs(ollama, location, { blobs: files, signal }),
    finish: async () => undefined,
    unpublish: (removed, kept, signal) => unpublishManifest(ollama, removed, kept, signal),
    isFinished: async ({ location, revision }) => (await readManifestDigest(ollama, location)) === revision,
  };
}

function folderStore(layout: Layout, source: Source): ModelStore {
  const { folders } = layout;
  return {
    root: folders.root,
    leaseName: (location) => `${source}:${location}`,
    path: ({ location, revision }) => folders.model(source, location, revision),
    ingest: (location) => folders.ingest(source, location),
    blob: (model, { path }) => join(folderOf(layout, source, model), path),
    toolLock: () => null,
    prepare: ({ location }) => makeFolder(folders.ingest(source, location)),
    async publish(model, files) {
      await publishFolder(layout, source, { ...model, files });
      return files;
    },
    keep: (model, files) => publishFolder(layout, source, { ...model, files }),
    finish: async () => undefined,
    unpublish: (removed, kept, signal) => unpublishFolder(layout, removed, kept, signal),
    isFinished: async () => true,
  };
}
