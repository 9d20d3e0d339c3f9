import { createHash } from "node:crypto";
import { type Content, contentOf, type FileSource, gitBlobSha1 } from "./content.ts";

/** Path to content; `null` in an update removes the path. */
export type Files = Record<string, FileSource | null>;

export interface RevisionSpec {
  kind?: "branch" | "tag";
  /** The whole list of files of that revision. Without it the revision points at main's first commit. */
  files?: Files;
}

export interface RepoSpec {
  /** "org/name", or "name" as in gpt2. */
  id: string;
  files: Files;
  /** Further branches, tags and `refs/pr/N`, by name. */
  revisions?: Record<string, RevisionSpec>;
  gated?: false | "auto" | "manual";
  private?: boolean;
  disabled?: boolean;
  /** Files larger than this are LFS whatever their name is; 10 MiB, as on the Hub. */
  lfsOver?: number;
  /** LFS files are had through Xet as well. */
  xet?: boolean;
  license?: string;
  pipelineTag?: string;
  libraryName?: string;
  tags?: string[];
}

export interface Entry {
  path: string;
  size: number;
  /** The git blob sha1; for LFS that of the pointer. */
  oid: string;
  lfs?: { oid: string; size: number; pointerSize: number };
  content: Content;
  /** The text git holds instead of an LFS file. */
  pointer?: Content;
  lastCommit: CommitNote;
}

export interface CommitNote {
  id: string;
  title: string;
  date: string;
}

export interface Commit extends CommitNote {
  files: Map<string, Entry>;
}

export interface Ref {
  kind: "branch" | "tag" | "pr";
  commit: string;
}

/** What the default .gitattributes of a model repository sends to LFS. */
const LFS_NAME = /\.(safetensors|bin|gguf|pth?|h5|ot|onnx|msgpack|model|npy|npz|tflite)$/i;

const DAY = 24 * 3600 * 1000;

export class Repository {
  readonly spec: RepoSpec;
  readonly refs = new Map<string, Ref>();
  readonly #commits = new Map<string, Commit>();

  constructor(spec: RepoSpec) {
    this.spec = spec;
    const first = this.commit(spec.files);
    for (const [name, revision] of Object.entries(spec.revisions ?? {})) {
      const commit = revision.files ? this.#record(this.#entries(revision.files, new Map()), first) : first;
      this.point(name, commit.id, revision.kind);
    }
  }

  /** A new commit on a branch: `files` over what the branch holds. */
  commit(files: Files, branch = "main"): Commit {
    const parent = this.resolve(branch);
    const commit = this.#record(this.#entries(files, parent?.files ?? new Map()), parent);
    this.point(branch, commit.id);
    return commit;
  }

  point(name: string, commit: string, kind: "branch" | "tag" = "branch"): void {
    this.refs.set(name, { kind: name.startsWith("refs/pr/") ? "pr" : kind, commit });
  }

  /** A branch, a tag, refs/pr/N, a full or a short commit, or HEAD. */
  resolve(revision: string): Commit | undefined {
    const ref = this.refs.get(revision === "HEAD" ? "main" : revision);
    if (ref) return this.#commits.get(ref.commit);
    if (!/^[0-9a-f]{7,40}$/.test(revision)) return undefined;
    const found = [...this.#commits.values()].filter((commit) => commit.id.startsWith(revision));
    return found.length === 1 ? found[0] : undefined;
  }

  /** The LFS object that it is, of whichever commit holds it. */
  lfsObject(isIt: (lfs: { oid: string }) => boolean): Entry | undefined {
    for (const commit of this.#commits.values()) {
      for (const entry of commit.files.values()) if (entry.lfs && isIt(entry.lfs)) return entry;
    }
    return undefined;
  }

  #entries(files: Files, before: Map<string, Entry>): Map<string, Entry> {
    const entries = new Map(before);
    for (const [path, source] of Object.entries(files)) {
      if (source === null) entries.delete(path);
      else entries.set(path, this.#entry(path, contentOf(source)));
    }
    return new Map([...entries].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  #entry(path: string, content: Content): Entry {
    const { size, sha256 } = content;
    const lastCommit = { id: "", title: "", date: "" };
    if (size <= (this.spec.lfsOver ?? 10 * 1024 * 1024) && !LFS_NAME.test(path)) {
      return { path, size, oid: gitBlobSha1(content), content, lastCommit };
    }
    const pointer = contentOf(`version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${size}\n`);
    const lfs = { oid: sha256, size, pointerSize: pointer.size };
    return { path, size, oid: gitBlobSha1(pointer), lfs, content, pointer, lastCommit };
  }

  #record(files: Map<string, Entry>, parent: Commit | undefined): Commit {
    const hash = createHash("sha1").update(parent ? `parent ${parent.id}\n` : "");
    for (const { path, content } of files.values()) hash.update(`${content.sha256} ${path}\n`);
    const id = hash.digest("hex");
    const number = this.#commits.size;
    const date = new Date(Date.UTC(2024, 0, 1) + number * DAY).toISOString();
    const note: CommitNote = { id, title: number === 0 ? "initial commit" : `Update ${number}`, date };
    for (const entry of files.values()) if (entry.lastCommit.id === "") entry.lastCommit = note;
    const commit: Commit = { ...note, files };
    this.#commits.set(id, commit);
    return commit;
  }
}
