import { randomBytes, randomUUID } from "node:crypto";
import type { Random } from "../ports/random.ts";

export const systemRandom: Random = {
  next: () => Math.random(),
  uuid: () => randomUUID(),
  secret: (bytes) => randomBytes(bytes).toString("base64url"),
};
