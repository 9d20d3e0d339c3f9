import { constants } from "node:fs";
import { access, readdir, realpath } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Roots } from "./probe.ts";
import { readText } from "./read-text.ts";

export interface DrmCard {
  /** Such as /sys/class/drm/card0. */
  folder: string;
  /** In lower case; tools differ. */
  pciAddress: string | null;
  /** The PCI device id such as "0x73df". */
  deviceId: string | null;
  /** Such as /dev/dri/renderD128, what a process opens to compute; null where the card has none. */
  renderNode: string | null;
  access: DeviceAccess;
}

export type DeviceAccess = "granted" | "absent" | "denied";

/**
 * The graphics cards of one PCI vendor, in the kernel's order. A container sees all cards of the machine in sysfs, also
 * those it was not given: `access` says whether a process here can open the card.
 */
export async function listDrmCards(roots: Roots, vendorId: string): Promise<DrmCard[]> {
  const drm = join(roots.sys, "class/drm");
  const numbers = (await names(drm)).flatMap((name) => /^card(\d+)$/.exec(name)?.[1] ?? []).map(Number);
  const cards: DrmCard[] = [];
  for (const number of numbers.sort((a, b) => a - b)) {
    const folder = join(drm, `card${number}`);
    const device = join(folder, "device");
    if ((await readText(join(device, "vendor"))) !== vendorId) continue;
    const render = (await names(join(device, "drm"))).find((name) => /^renderD\d+$/.test(name));
    const renderNode = render === undefined ? null : join(roots.dev, "dri", render);
    cards.push({
      folder,
      pciAddress: await readPciAddress(device),
      deviceId: await readText(join(device, "device")),
      renderNode,
      access: renderNode === null ? "absent" : await deviceAccess(renderNode),
    });
  }
  return cards;
}

/** Whether this process may use a device node. */
export async function deviceAccess(node: string): Promise<DeviceAccess> {
  try {
    await access(node, constants.F_OK);
  } catch {
    return "absent";
  }
  try {
    await access(node, constants.R_OK | constants.W_OK);
    return "granted";
  } catch {
    return "denied";
  }
}

async function readPciAddress(device: string): Promise<string | null> {
  const slot = /^PCI_SLOT_NAME=(.+)$/m.exec((await readText(join(device, "uevent"))) ?? "")?.[1];
  if (slot !== undefined) return slot.toLowerCase();
  const target = basename(await realpath(device).catch(() => device));
  return /^[\da-f]{4,8}:[\da-f]{2}:[\da-f]{2}\.\d$/i.test(target) ? target.toLowerCase() : null;
}

async function names(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}
