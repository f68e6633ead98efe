/** Small runs of what `npm run soak -- idle-queries` and `http-fuzz` do at full size. */
import { expect, test } from "bun:test";
import { soakHttpFuzz } from "../../bench/soak/http-fuzz.ts";
import { soakIdleQueries } from "../../bench/soak/idle-queries.ts";

test("a thousand clients that wait cost little, and all are answered by the change", async () => {
  expect(await soakIdleQueries(["1000"])).toContain("all answered");
}, 60_000);

test("wrong requests get answers, and the process lives on as it was", async () => {
  expect(await soakHttpFuzz(["3000", "7"])).toStartWith("3000 requests");
}, 60_000);
