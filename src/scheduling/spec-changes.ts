import type { AppSpec } from "../model/app.ts";

/** What a new definition means for running instances: `config` replaces them, `scale` only changes their number. */
export type SpecChange = "none" | "scale" | "config";

/** Compares definitions, defaults filled in; any field but `instances` is config, labels too. */
export function compareSpecs(before: AppSpec, after: AppSpec): SpecChange {
  if (!isSame({ ...before, instances: 0 }, { ...after, instances: 0 })) return "config";
  return before.instances === after.instances ? "none" : "scale";
}

/** Equality of JSON values, in which the order of keys does not count. */
function isSame(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [keysA, keysB] = [Object.keys(a), Object.keys(b)];
  if (keysA.length !== keysB.length) return false;
  return keysA.every((key) => Object.hasOwn(b, key) && isSame(Reflect.get(a, key), Reflect.get(b, key)));
}
