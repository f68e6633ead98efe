/**
 * The four calls of the reflect-metadata proposal that @peculiar/x509's dependency injection (tsyringe) makes while it
 * loads. The usual polyfill is another dependency of two thousand lines; this is what is used of it. Call it before x509 loads.
 */
const store = new WeakMap<object, Map<string | symbol, unknown>>();

function getOwnMetadata(key: string | symbol, target: object): unknown {
  return store.get(target)?.get(key);
}

function getMetadata(key: string | symbol, target: object): unknown {
  for (let at: object | null = target; at !== null; at = Reflect.getPrototypeOf(at)) {
    if (store.get(at)?.has(key) === true) return store.get(at)?.get(key);
  }
  return undefined;
}

function defineMetadata(key: string | symbol, value: unknown, target: object): void {
  const metadata = store.get(target) ?? new Map<string | symbol, unknown>();
  metadata.set(key, value);
  store.set(target, metadata);
}

function metadata(key: string | symbol, value: unknown): (target: object) => void {
  return (target) => defineMetadata(key, value, target);
}

/** Repeatable; leaves a full polyfill alone. */
export function installReflectMetadata(): void {
  if (!("getMetadata" in Reflect)) Object.assign(Reflect, { getOwnMetadata, getMetadata, defineMetadata, metadata });
}
