import { createHmac } from "node:crypto";
import type { Mac } from "../ports/mac.ts";

/** HMAC-SHA-256 under this key. */
export function nodeMac(key: Uint8Array): Mac {
  return (bytes) => createHmac("sha256", key).update(bytes).digest();
}
