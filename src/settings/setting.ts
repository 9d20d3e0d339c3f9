import type * as z from "zod";

/** What is told of a setting. */
export interface SettingMeta {
  group: string;
  description: string;
  allowed: string;
  /** What holds when it is not set, in words. */
  otherwise: string;
  secret?: boolean;
}

type Group =
  | "Worker"
  | "Volume"
  | "Hub"
  | "Object store"
  | "Hardware"
  | "Engines"
  | "Coordinator"
  | "Gateway"
  | "Transfer"
  | "Operation";

/** An optional variable of the environment, with what the tables in the documents say of it. */
export function setting<T extends z.ZodType>(group: Group, schema: T, meta: Omit<SettingMeta, "group">) {
  return schema.optional().meta({ group, ...meta });
}

/** The description that a setting carries. */
export function settingMeta(schema: z.ZodType): SettingMeta {
  return schema.meta() as unknown as SettingMeta;
}
