/** Somebody sets the clock: what lasts for a time lasts as long as before, neither cut short nor for ever. */
import { expect, test } from "bun:test";
import { NODE, openConsul } from "../../sim/consul-fixture.ts";

const DAY_MS = 86_400_000;

for (const [what, stepMs] of [
  ["forward", DAY_MS],
  ["back", -DAY_MS],
] as const) {
  test(`TTL checks, sessions, waits and deregistrations do not feel the clock go ${what} by a day`, async () => {
    const consul = await openConsul();
    const { clock, parts } = consul;
    const statusOf = (id: string): string | undefined => parts.registry.view.check(NODE, id)?.status;
    const ttl = { CheckID: "ttl", TTL: "10s", Status: "passing", DeregisterCriticalServiceAfter: "1m" };
    await consul.put("agent/service/register", { Name: "web", Check: ttl });
    const { ID } = (await consul.put("session/create", { TTL: "10s" })) as { readonly ID: string };
    const index = Number((await consul.ask("GET", "kv/none")).headers["x-consul-index"]);
    const waiting = consul.ask("GET", `kv/none?index=${index}&wait=30s`);
    let answered = false;
    void waiting.then(() => (answered = true));
    await clock.advance(5000);
    clock.shiftWall(stepMs);
    await clock.advance(4000);
    expect(statusOf("ttl")).toBe("passing");
    expect(await consul.get(`session/info/${ID}`)).toHaveLength(1);
    expect(answered).toBe(false);
    // One more step in the other direction, as NTP does it after a wrong one.
    clock.shiftWall(-stepMs);
    await clock.advance(7000);
    expect(statusOf("ttl")).toBe("critical");
    await clock.advance(10_000);
    expect(await consul.get(`session/info/${ID}`)).toEqual([]);
    await clock.advance(10_000);
    expect(answered).toBe(true);
    clock.shiftWall(stepMs);
    await clock.advance(30_000);
    expect(parts.registry.view.service(NODE, "web")).not.toBeNull();
    await clock.advance(10_000);
    expect(parts.registry.view.service(NODE, "web")).toBeNull();
    parts.close();
  });
}
