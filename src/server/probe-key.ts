import type { Random } from "../platform/ports/random.ts";
import type { Store } from "../platform/ports/store.ts";
import { keyOf } from "./cluster-state.ts";

const KEY_BYTES = 32;

/** The key with which hosts sign their probes, base64url; made once in a cluster's life. */
export async function openProbeKey(store: Store, random: Random): Promise<string> {
  for (;;) {
    const entry = await store.get(keyOf.probeKey);
    if (entry !== null) return entry.value as string;
    const key = random.secret(KEY_BYTES);
    // Somebody else may have been first: then theirs is it.
    const put = { kind: "put", key: keyOf.probeKey, value: key } as const;
    if ((await store.commit([put], [{ key: keyOf.probeKey, revision: 0 }])) !== null) return key;
  }
}
