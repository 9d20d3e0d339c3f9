import { join } from "node:path";
import type { FileSpec, Source, StoredModel } from "../model.ts";
import { folderOf, publishFolder } from "./folder-store.ts";
import { prepareRepo, publishSnapshot, readRef, writeRef } from "./hub-cache.ts";
import type { Layout } from "./layout.ts";
import { makeFolder } from "./make-folder.ts";

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
  prepare(model: ModelAt): Promise<void>;
  /** Makes the model visible, all its files being in place. `manifest`: the source's own text, where it is stored too. */
  publish(model: ModelAt, files: readonly FileSpec[], manifest: string | null): Promise<void>;
  /** What comes after our own record. */
  finish(model: ModelAt): Promise<void>;
  /** False where a kill came before `finish`. */
  isFinished(model: ModelAt): Promise<boolean>;
}

/** Null for sources whose models this version cannot store. */
export function storeOf(layout: Layout, source: Source): ModelStore | null {
  if (source === "huggingface") return hubStore(layout);
  return source === "ollama" ? null : folderStore(layout, source);
}

function hubStore({ hub }: Layout): ModelStore {
  return {
    root: hub.root,
    leaseName: (location) => `huggingface:${location}`,
    path: ({ location, revision }) => hub.snapshot(location, revision),
    ingest: (location) => hub.ingest(location),
    blob: ({ location }, { digest }) => hub.blob(location, digest),
    prepare: ({ location }) => prepareRepo(hub, location),
    publish: ({ location, revision }, files) => publishSnapshot(hub, location, revision, files),
    finish: ({ location, requestedRevision, revision }) => writeRef(hub, location, requestedRevision, revision),
    isFinished: async ({ location, requestedRevision, revision }) =>
      requestedRevision === revision || (await readRef(hub, location, requestedRevision)) !== null,
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
    prepare: ({ location }) => makeFolder(folders.ingest(source, location)),
    publish: (model, files) => publishFolder(layout, source, { ...model, files }),
    finish: async () => undefined,
    isFinished: async () => true,
  };
}
