import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import type { KeptRevision, StoredModel } from "../model.ts";
import { liveHolds } from "./holds.ts";
import { UseMarks } from "./last-use.ts";
import type { Layout } from "./layout.ts";
import { filesToFetch, listManifests, readManifest, writeManifest } from "./manifest.ts";
import { storeOf } from "./model-store.ts";
import { syncFolder } from "./partial-file.ts";

/**
 * Revisions of a model beside the one that it has now: each has a record of its own, so that whatever looks after records
 * looks after them. A new revision is such a one until it is whole; the one before is such a one from then on.
 */

/** A record of a revision that is not the model's. */
export type KeptModel = StoredModel & Required<Pick<StoredModel, "kept">>;

export function keptKey(key: string, revision: string): string {
  return `${key}@${revision.slice(0, 12)}`;
}

export function isKept(model: StoredModel): model is KeptModel {
  return model.kept !== undefined;
}

/** What a command takes for just this record: the model's name means its own revision only. */
export function nameOf({ location, revision, kept }: StoredModel): string {
  return kept ? `${location}@${revision.slice(0, 12)}` : location;
}

/** Of a model, the latest first; without one that is the model's own revision, as a kill may leave it. */
export async function keptRevisions(layout: Layout, key: string): Promise<KeptModel[]> {
  const records = await listManifests(layout);
  const current = records.find((record) => record.key === key)?.revision;
  return latestFirst(records.filter(isKept).filter(({ kept, revision }) => kept.of === key && revision !== current));
}

/** Those beyond so many of each model, and those that a kill has left; what is pinned stays and does not count. */
export function supersededRevisions(
  records: readonly StoredModel[],
  { keep, isPinned }: { keep: number; isPinned: (key: string) => boolean },
): KeptModel[] {
  const revisions = new Map(records.filter((record) => !isKept(record)).map(({ key, revision }) => [key, revision]));
  const free = records.filter(isKept).filter(({ key }) => !isPinned(key));
  return [...Map.groupBy(free, ({ kept }) => kept.of)].flatMap(([key, all]) => {
    const isLeft = ({ revision }: KeptModel) => revision === revisions.get(key);
    return [...all.filter(isLeft), ...latestFirst(all.filter((each) => !isLeft(each))).slice(keep)];
  });
}

/** Since when, now where it is left out, and who may have it loaded. */
export type WhyKept = Partial<KeptRevision> & Pick<KeptRevision, "usedBy">;

/** The model's record as that of a revision that is kept. Its files are those that no name of the model shows. */
export function asKept(model: StoredModel, { usedBy, since = new Date().toISOString() }: WhyKept): KeptModel {
  const files = filesToFetch(model);
  const kept = { of: model.key, since, usedBy };
  return { ...model, key: keptKey(model.key, model.revision), files, bytes: sum(files), kept };
}

/**
 * Makes a kept revision the model's, under the model's lease; the one before is kept. Each step leaves both whole: after a
 * kill the model has either the one or the other, and the next fetch of it finishes what only one of them needs.
 */
export async function showRevision(layout: Layout, revision: KeptModel, signal?: AbortSignal): Promise<StoredModel> {
  const { kept, ...model } = revision;
  const store = storeOf(layout, model.source);
  const before = await readManifest(layout, kept.of);
  const isOther = before !== null && before.revision !== model.revision;
  if (isOther) await writeManifest(layout, asKept(before, { usedBy: null }));
  const files = [...(await store.publish(model, model.files, model.manifest, signal))];
  const shown: StoredModel = { ...model, key: kept.of, files, bytes: sum(files) };
  await writeManifest(layout, shown);
  await store.finish(shown);
  await rm(layout.manifest(revision.key), { force: true });
  await syncFolder(dirname(layout.manifest(revision.key)));
  // Who holds the model before it looks for the record may have found the one before. Only those of now may.
  if (isOther) await writeManifest(layout, asKept(before, { usedBy: await holdTokens(layout, kept.of) }));
  await new UseMarks(layout).mark([kept.of]);
  return shown;
}

async function holdTokens(layout: Layout, key: string): Promise<string[]> {
  const holds = (await liveHolds(layout)).filter(({ models }) => models.some((each) => each.key === key));
  return holds.map(({ token }) => token);
}

function latestFirst(models: readonly KeptModel[]): KeptModel[] {
  return models.toSorted((a, b) => (a.kept.since < b.kept.since ? 1 : -1));
}

function sum(files: readonly { size: number }[]): number {
  return files.reduce((total, { size }) => total + size, 0);
}
