/** A GPU as an AMD tool or sysfs describes it. */
export interface AmdCard {
  index: number;
  name: string;
  /** The 64-bit serial of the chip in hexadecimal without "0x"; null where it has none. */
  uniqueId: string | null;
  pciAddress: string | null;
  memoryTotalMiB: number | null;
  memoryFreeMiB: number | null;
}

export interface AmdAnswer {
  cards: AmdCard[];
  driverVersion: string | null;
  rocmVersion: string | null;
}

/** A chip's serial such as "0x79CCD55167A2124A" without its prefix; null for "N/A" and for zero. */
export function toUniqueId(serial: string | null): string | null {
  const digits = /^0x([\da-f]{1,16})$/i.exec(serial ?? "")?.[1]?.toLowerCase();
  return digits === undefined || /^0+$/.test(digits) ? null : digits.padStart(16, "0");
}
