import { basename, join } from "node:path";
import type { Digest, Source } from "../model.ts";

/** Every path under the volume. Nothing else in the project joins one. */
export interface Layout {
  /** Records of complete models. */
  manifests: string;
  manifest(key: string): string;
  /** What sources said of models, kept so that a plan needs no network. */
  description(key: string): string;
  lease(name: string): string;
  /** Every lease of a model: a folder each. */
  leases: string;
  /** Who is fetching some content, whatever the model. */
  contentLease(digest: Digest): string;
  contentLeases: string;
  /** A file a model, as old as its last use. */
  used(key: string): string;
  /** What running workers need: a file each. */
  holds: string;
  hold(token: string): string;
  /** What is not to be removed: a file a record. */
  pins: string;
  pin(key: string): string;
  /** Records of models that are being removed. */
  removals: string;
  removal(key: string): string;
  /** How far checking everything in the background has come. */
  scrub: string;
  /** Who did what to the volume: a file a host. */
  audit: string;
  /** Given up where there is no room left to remove anything. */
  ballast: string;
  /** The folder that is nobody's but muster's; the digests for `sha256sum -c` stand beside it. */
  own: string;
  checksums: string;
  /** Where models stand, of whatever source; what a quota is about. */
  modelFolders: string[];
  /** The hub cache, as Hugging Face tools lay it out. */
  hub: HubLayout;
  /** Ollama's store. */
  ollama: OllamaLayout;
  /** Models of buckets and folders, as plain files. */
  folders: FolderLayout;
  /** Models of the hub cache once more, as plain files. */
  local: LocalLayout;
}

export interface LocalLayout {
  /** All of them are to have a folder. */
  isWanted: boolean;
  /** Ids with "/" as "-", as in buckets. */
  folder(id: string): string;
  /** Says that a folder is ours. */
  mark(id: string): string;
  /** Where it is put together before it gets its name. */
  staged(id: string): string;
  /** Where it goes before it is removed, so that it goes at once. */
  hidden(id: string): string;
}

export interface HubLayout {
  root: string;
  repo(id: string): string;
  blobs(id: string): string;
  blob(id: string, digest: Digest): string;
  /** Held by Python's client while it fetches that blob. */
  lock(id: string, digest: Digest): string;
  snapshot(id: string, commit: string): string;
  ref(id: string, revision: string): string;
  refs(id: string): string;
  /** What Python's client knows not to be in a commit. */
  absent(id: string, commit: string): string;
  /**
   * Folder of unfinished files. Inside the repository's folder, as is a staged snapshot, so that a rename gives them
   * their name: of two mounts of one device the device number does not tell that renames fail between them.
   */
  ingest(id: string): string;
  /** Where a snapshot is put together before it gets its name. */
  stagedSnapshot(id: string, token: string): string;
}

export interface OllamaLayout {
  root: string;
  /** A blob or a manifest by its path in the store. */
  file(path: string): string;
  /** Folder of a model's unfinished files: in the store for the rename, and never where a starting server looks. */
  ingest(name: string): string;
  /** Where a manifest is written before it gets its name. */
  staged(token: string): string;
  /** Held by who gives a model its name in the store. */
  lease: string;
}

export interface FolderLayout {
  root: string;
  model(source: Source, location: string, revision: string): string;
  /** Folder of unfinished files; in the same tree, for the rename. */
  ingest(source: Source, location: string): string;
  /** Where a model's folder is put together before it gets its name; a later try goes on with it. */
  staged(source: Source, location: string, revision: string): string;
  /** Where a model's folder goes before it is removed, so that it goes at once. */
  hidden(source: Source, location: string, token: string): string;
}

export function createLayout(
  volume: string,
  hubCache: string,
  ollamaModels: string,
  { localDirs = false } = {},
): Layout {
  const own = join(volume, ".muster");
  const localName = (id: string) => id.replaceAll("/", "-");
  const folders = createFolderLayout(join(volume, "base-models"));
  return {
    manifests: join(own, "models"),
    manifest: (key) => join(own, "models", `${key}.json`),
    description: (key) => join(own, "descriptions", `${key}.json`),
    modelFolders: [hubCache, ollamaModels, folders.root],
    lease: (name) => join(own, "leases", slug(name)),
    leases: join(own, "leases"),
    contentLease: ({ hex }) => join(own, "contents", hex),
    contentLeases: join(own, "contents"),
    used: (key) => join(own, "used", key),
    holds: join(own, "holds"),
    hold: (token) => join(own, "holds", `${token}.json`),
    pins: join(own, "pins"),
    pin: (key) => join(own, "pins", `${key}.json`),
    removals: join(own, "removing"),
    removal: (key) => join(own, "removing", `${key}.json`),
    scrub: join(own, "scrub.json"),
    audit: join(own, "audit"),
    ballast: join(own, "ballast"),
    own,
    checksums: join(volume, "checksums.txt"),
    hub: hubLayout(hubCache),
    ollama: {
      root: ollamaModels,
      file: (path) => join(ollamaModels, path),
      ingest: (name) => join(ollamaModels, ".muster", "ingest", slug(name)),
      staged: (token) => join(ollamaModels, ".muster", token),
      lease: join(ollamaModels, ".muster", "lease"),
    },
    folders,
    local: {
      isWanted: localDirs,
      folder: (id) => join(volume, localName(id)),
      mark: (id) => join(own, "local", `${slug(localName(id))}.json`),
      staged: (id) => join(own, "local", `${slug(localName(id))}.staged`),
      hidden: (id) => join(own, "local", `${slug(localName(id))}.hidden`),
    },
  };
}

export function hubLayout(root: string): HubLayout {
  const repo = (id: string) => join(root, `models--${id.replaceAll("/", "--")}`);
  return {
    root,
    repo,
    blobs: (id) => join(repo(id), "blobs"),
    blob: (id, digest) => join(repo(id), "blobs", digest.hex),
    lock: (id, { hex }) => join(root, ".locks", basename(repo(id)), `${hex}.lock`),
    snapshot: (id, commit) => join(repo(id), "snapshots", commit),
    ref: (id, revision) => join(repo(id), "refs", revision),
    refs: (id) => join(repo(id), "refs"),
    absent: (id, commit) => join(repo(id), ".no_exist", commit),
    ingest: (id) => join(repo(id), ".muster", "ingest"),
    stagedSnapshot: (id, token) => join(repo(id), ".muster", token),
  };
}

function createFolderLayout(root: string): FolderLayout {
  const name = (source: Source, location: string) => slug(`${source}/${location.replace(/^(\w+:\/\/)?\/?/, "")}`);
  const own = (source: Source, location: string) => join(root, ".muster", name(source, location));
  return {
    root,
    model: (source, location, revision) => join(root, name(source, location), slug(revision)),
    ingest: (source, location) => join(own(source, location), "ingest"),
    staged: (source, location, revision) => join(own(source, location), "staged", slug(revision)),
    hidden: (source, location, token) => join(own(source, location), token),
  };
}

/** A file name made of any text; distinct texts of the same form stay distinct. */
export function slug(text: string): string {
  return text.replace(/[^\w.@-]/g, (character) =>
    character === "/" ? "--" : `%${character.codePointAt(0)?.toString(16)}`,
  );
}
