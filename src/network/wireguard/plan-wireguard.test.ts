import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseIpv4 } from "../../model/ip.ts";
import type { NetworkAction } from "../../platform/ports/host-network.ts";
import { FakeHostNetwork } from "../../sim/fake-host-network.ts";
import type { DesiredWireguard, DesiredWireguardPeer } from "./plan-wireguard.ts";
import { HANDSHAKE_FRESH_MS, WIREGUARD, WIREGUARD_SYSCTLS, planWireguard } from "./plan-wireguard.ts";

const RANGE = "10.2.0.0/16";
const want = {
  sysctls: Object.keys(WIREGUARD_SYSCTLS),
  range: RANGE,
  tunnelDevice: "none",
  wireguardDevice: WIREGUARD,
};
const key = (name: string): string => `${name.padEnd(43, "0")}=`;
const OWN = key("own");

function peer(number: number, change: Partial<DesiredWireguardPeer> = {}): DesiredWireguardPeer {
  return {
    keys: [key(`now${number}`), key(`next${number}`)],
    endpoint: `192.0.2.${number}:6785`,
    allowedIps: [`10.2.${number}.0/24`],
    ...change,
  };
}

function desire(...peers: readonly DesiredWireguardPeer[]): DesiredWireguard {
  return { range: RANGE, publicKey: OWN, mtu: 1440, peers };
}

function newHost(wireguardSupport: "kernel" | "program" | null = "kernel"): FakeHostNetwork {
  const uplinks = [{ name: "eth0", address: parseIpv4("192.0.2.1"), prefix: 24 }];
  return new FakeHostNetwork({ uplinks, wireguardSupport });
}

async function plan(host: FakeHostNetwork, desired: DesiredWireguard | null): Promise<readonly NetworkAction[]> {
  const { before, after } = planWireguard(desired, await host.observe(want));
  return [...before, ...after];
}

async function pass(host: FakeHostNetwork, desired: DesiredWireguard | null): Promise<readonly NetworkAction[]> {
  const actions = await plan(host, desired);
  for (const action of actions) await host.apply(action);
  return actions;
}

function wireguardLines(host: FakeHostNetwork): readonly string[] {
  return String(host)
    .split("\n")
    .filter((line) => line.startsWith("wireguard "))
    .map((line) => line.replace(`wireguard ${WIREGUARD} `, "").replaceAll(/0+=/g, ""));
}

async function seenEndpoint(host: FakeHostNetwork, publicKey: string): Promise<string | null | undefined> {
  return (await host.observe(want)).wireguard?.peers.find((one) => one.publicKey === publicKey)?.endpoint;
}

test("planWireguard() makes the device, enters both keys of a peer and gives its ranges to the one in use", async () => {
  const host = newHost();
  await pass(host, desire(peer(2)));
  expect(wireguardLines(host)).toEqual([
    "own port 6785",
    "peer next2 at nowhere allows nothing keepalive 0",
    "peer now2 at 192.0.2.2:6785 allows 10.2.2.0/24 keepalive 25",
  ]);
  expect(await plan(host, desire(peer(2)))).toEqual([]);
});

test("planWireguard() moves the ranges to the next key once that one was heard, with the endpoint it was heard from", async () => {
  const host = newHost();
  await pass(host, desire(peer(2)));
  host.disturb({ kind: "handshake", publicKey: key("now2"), ageMs: 60_000 });
  expect(await plan(host, desire(peer(2)))).toEqual([]);
  host.disturb({ kind: "handshake", publicKey: key("next2"), ageMs: 0, endpoint: "203.0.113.9:4242" });
  expect((await pass(host, desire(peer(2)))).map(({ kind }) => kind)).toEqual(["put-wireguard-peers"]);
  expect(wireguardLines(host).slice(1)).toEqual([
    "peer next2 at 203.0.113.9:4242 allows 10.2.2.0/24 keepalive 25",
    "peer now2 at 192.0.2.2:6785 allows nothing keepalive 0",
  ]);
  expect(await plan(host, desire(peer(2)))).toEqual([]);
});

test("planWireguard() drops the former key when the server tells the new pair", async () => {
  const host = newHost();
  await pass(host, desire(peer(2)));
  host.disturb({ kind: "handshake", publicKey: key("now2"), ageMs: 1000, endpoint: "203.0.113.9:4242" });
  // A next key that was heard longer ago is no sign of a change.
  await pass(host, desire(peer(2, { keys: [key("next2"), key("now2")] })));
  expect(await seenEndpoint(host, key("next2"))).toBe(null);
  await pass(host, desire(peer(2, { keys: [key("next2"), key("third2")] })));
  expect(wireguardLines(host).slice(1)).toEqual([
    "peer next2 at 192.0.2.2:6785 allows 10.2.2.0/24 keepalive 25",
    "peer third2 at nowhere allows nothing keepalive 0",
  ]);
});

const learnt: readonly (readonly [string, number, string | null, string])[] = [
  ["fresh: kept", 1000, "192.0.2.2:6785", "203.0.113.9:4242"],
  ["at the edge of fresh: kept", HANDSHAKE_FRESH_MS, "192.0.2.2:6785", "203.0.113.9:4242"],
  ["stale: what we were told counts again", HANDSHAKE_FRESH_MS + 1, "192.0.2.2:6785", "192.0.2.2:6785"],
  ["stale, and nobody knows better (NAT): kept", HANDSHAKE_FRESH_MS + 1, null, "203.0.113.9:4242"],
  ["the way goes through another host now: changed at once", 1000, "10.2.2.0:6785", "10.2.2.0:6785"],
];
for (const [title, ageMs, endpoint, result] of learnt) {
  test(`planWireguard() and an endpoint that WireGuard learnt: ${title}`, async () => {
    const host = newHost();
    await pass(host, desire(peer(2)));
    host.disturb({ kind: "handshake", publicKey: key("now2"), ageMs, endpoint: "203.0.113.9:4242" });
    await pass(host, desire(peer(2, { endpoint })));
    expect(await seenEndpoint(host, key("now2"))).toBe(result);
    expect(await plan(host, desire(peer(2, { endpoint })))).toEqual([]);
  });
}

test("planWireguard() goes back from a carried way to the peer's own address at once", async () => {
  const host = newHost();
  await pass(host, desire(peer(2, { endpoint: "10.2.2.0:6785" })));
  host.disturb({ kind: "handshake", publicKey: key("now2"), ageMs: 1000 });
  await pass(host, desire(peer(2)));
  expect(await seenEndpoint(host, key("now2"))).toBe("192.0.2.2:6785");
});

test("planWireguard() changes this host's key, greets its peers with it, and never enters that key as a peer's", async () => {
  const host = newHost();
  await pass(host, desire(peer(2)));
  const desired = { ...desire(peer(2), peer(3, { keys: [key("changed")] })), publicKey: key("changed") };
  const greeted = { publicKey: key("now2"), endpoint: null, allowedIps: ["10.2.2.0/24"] };
  const put = { kind: "put-wireguard-peers", device: WIREGUARD } as const;
  expect(await pass(host, desired)).toEqual([
    { kind: "set-wireguard-key", name: WIREGUARD, port: 6785, publicKey: key("changed") },
    { ...put, peers: [{ ...greeted, keepaliveSec: 0 }] },
    { ...put, peers: [{ ...greeted, keepaliveSec: 25 }] },
  ]);
  expect(await plan(host, desired)).toEqual([]);
});

test("planWireguard() can do nothing without WireGuard, and leaves a device of others alone", async () => {
  expect(planWireguard(desire(peer(2)), await newHost(null).observe(want))).toEqual({
    before: [],
    after: [],
    usable: false,
    fresh: false,
  });
  const uplinks = [{ name: WIREGUARD, address: parseIpv4("192.0.2.1"), prefix: 24 }];
  const host = new FakeHostNetwork({ uplinks });
  expect(planWireguard(desire(peer(2)), await host.observe(want)).usable).toBe(false);
  expect(await plan(host, null)).toEqual([]);
});

test("planWireguard() deletes the device when nobody needs it", async () => {
  const host = newHost();
  const before = String(host);
  await pass(host, desire(peer(2)));
  await pass(host, null);
  expect(String(host)).toBe(before);
});

const peers = fc.uniqueArray(fc.integer({ min: 2, max: 9 }), { maxLength: 5 }).chain((numbers) =>
  fc.tuple(
    ...numbers.map((number) =>
      fc
        .record({
          endpoint: fc.constantFrom(null, `192.0.2.${number}:6785`, `10.2.${number}.0:6785`),
          more: fc.boolean(),
          generation: fc.integer({ min: 0, max: 3 }),
        })
        .map(({ endpoint, more, generation }) =>
          peer(number, {
            endpoint,
            keys: [key(`${number}g${generation}`), key(`${number}g${generation + 1}`)],
            allowedIps: more ? [`10.2.${number}.0/24`, `10.2.${number + 100}.0/24`] : [`10.2.${number}.0/24`],
          }),
        ),
    ),
  ),
);
const handshakes = fc.array(
  fc.record({
    number: fc.integer({ min: 2, max: 9 }),
    generation: fc.integer({ min: 0, max: 4 }),
    ageMs: fc.integer({ min: 0, max: 400_000 }),
    port: fc.integer({ min: 1, max: 9 }),
  }),
  { maxLength: 6 },
);

test("planWireguard() converges in one pass from anything, is then content, and each range has one peer", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(peers, handshakes), { minLength: 1, maxLength: 4 }), async (steps) => {
      const host = newHost();
      for (const [list, heard] of steps) {
        for (const { number, generation, ageMs, port } of heard) {
          const endpoint = `203.0.113.${number}:${port}`;
          host.disturb({ kind: "handshake", publicKey: key(`${number}g${generation}`), ageMs, endpoint });
        }
        const desired = desire(...list);
        await pass(host, desired);
        expect(await plan(host, desired)).toEqual([]);
        const allowed = (await host.observe(want)).wireguard?.peers.flatMap(({ allowedIps }) => allowedIps) ?? [];
        expect(allowed.toSorted()).toEqual(list.flatMap(({ allowedIps }) => allowedIps).toSorted());
      }
    }),
  );
});
