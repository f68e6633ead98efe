import { createHash, createHmac } from "node:crypto";
import type { Digest } from "../ports/digest.ts";

export const nodeDigest: Digest = {
  sha256: (data) => createHash("sha256").update(data).digest("hex"),
  hmac: (key, text) => createHmac("sha256", key).update(text).digest("hex"),
};
